//! The line discipline, typed at and written to.

use super::Discipline;
use super::control::Setting;
use chitin_abi::signal::{SIGINT, SIGTSTP};
use chitin_abi::tty::*;

fn type_in(d: &mut Discipline, text: &[u8]) -> Vec<i32> {
    text.iter().filter_map(|&b| d.receive(b)).collect()
}

fn shown(d: &mut Discipline) -> String {
    String::from_utf8(d.take_output(10_000)).unwrap()
}

fn change(d: &mut Discipline, f: impl FnOnce(&mut Termios)) {
    let mut termios = *d.termios();
    f(&mut termios);
    d.set(&termios, None, Setting::Keep);
}

#[test]
fn a_line_can_be_read_when_it_is_complete() {
    let mut d = Discipline::default();
    type_in(&mut d, b"ab");
    assert_eq!((d.readable(), shown(&mut d).as_str()), (0, "ab"));
    type_in(&mut d, b"c\rnext\n");
    assert_eq!(shown(&mut d), "c\r\nnext\r\n");
    assert_eq!(d.take(100), b"abc\n");
    assert_eq!(d.take(2), b"ne");
    assert_eq!(d.take(100), b"xt\n");
    assert_eq!(d.take(100), b"");
}

#[test]
fn lines_are_edited() {
    let mut d = Discipline::default();
    type_in(&mut d, b"helo\x7flo");
    assert_eq!(shown(&mut d), "helo\x08 \x08lo");
    type_in(&mut d, b" wor ld\x17\x17x\x16\x03\n");
    assert_eq!(d.take(100), b"hello x\x03\n");
    type_in(&mut d, b"all of it\x15rest\n");
    assert_eq!(d.take(100), b"rest\n");
    shown(&mut d);
    type_in(&mut d, b"\x7f");
    assert_eq!(shown(&mut d), "", "nothing is left to erase");
}

#[test]
fn wide_things_are_erased_whole() {
    let mut d = Discipline::default();
    change(&mut d, |t| t.c_iflag |= IUTF8);
    type_in(&mut d, "aä\x7f".as_bytes());
    assert_eq!(shown(&mut d), "aä\x08 \x08");
    type_in(&mut d, b"\t\x7f");
    assert_eq!(shown(&mut d), format!("\t{}", "\x08".repeat(7)));
    type_in(&mut d, b"\x01\x7f\n");
    assert_eq!(shown(&mut d), "^A\x08 \x08\x08 \x08\r\n");
    assert_eq!(d.take(10), b"a\n");
}

#[test]
fn end_of_file_ends_a_read() {
    let mut d = Discipline::default();
    type_in(&mut d, b"ab\x04\x04cd\n");
    assert_eq!(d.take(2), b"ab", "the mark behind a full read goes with it");
    assert_eq!(d.take(10), b"");
    assert_eq!(d.take(10), b"cd\n");
}

#[test]
fn signals_discard_what_waits() {
    let mut d = Discipline::default();
    assert_eq!(d.write(b"output"), 6);
    assert_eq!(type_in(&mut d, b"ab\x03"), [SIGINT]);
    assert_eq!(shown(&mut d), "^C");
    assert_eq!(type_in(&mut d, b"\n\x1a"), [SIGTSTP]);
    assert_eq!(d.readable(), 0);
    change(&mut d, |t| t.c_lflag &= !ISIG);
    assert_eq!(type_in(&mut d, b"\x03\n"), []);
    assert_eq!(d.take(10), b"\x03\n");
}

#[test]
fn raw_mode_keeps_every_byte() {
    let mut d = Discipline::default();
    type_in(&mut d, b"partial");
    change(&mut d, |t| {
        t.c_lflag &= !(ICANON | ECHO | ISIG | IEXTEN);
        t.c_iflag &= !(ICRNL | IXON);
        t.c_oflag &= !OPOST;
    });
    type_in(&mut d, b"\r\x03\x04\x13");
    assert_eq!(d.take(100), b"partial\r\x03\x04\x13");
    shown(&mut d);
    d.write(b"a\nb");
    assert_eq!(shown(&mut d), "a\nb");
    type_in(&mut d, b"xy");
    change(&mut d, |t| t.c_lflag |= ICANON);
    assert_eq!(d.take(100), b"xy", "what waits becomes a line");
}

#[test]
fn output_stops_and_goes_on() {
    let mut d = Discipline::default();
    type_in(&mut d, b"\x13");
    assert_eq!((d.write(b"x"), d.writable()), (0, false));
    type_in(&mut d, b"e");
    assert_eq!(shown(&mut d), "");
    type_in(&mut d, b"\x11");
    assert_eq!(shown(&mut d), "e");
    assert_eq!(d.write(b"x\n"), 2);
    assert_eq!(shown(&mut d), "x\r\n");
}

#[test]
fn queues_have_limits() {
    let mut d = Discipline::default();
    for _ in 0..10_000 {
        assert!(d.has_room());
        d.receive(b'x');
    }
    d.receive(b'\n');
    assert!(!d.has_room());
    assert_eq!(d.take(10_000).len(), 4096);
    let written = d.write(&[b'y'; 100_000]);
    assert!(written < 40_000, "{written}");
    for _ in 0..100_000 {
        d.receive(b'z');
    }
    assert!(d.shown() < 50_000);
}
