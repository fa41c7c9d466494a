//! Programs at a terminal: `type.py` starts one in a pseudoterminal, types, and waits for what must appear. Its own
//! terminal is on the host, and the program in either place; or all of it is inside.

use super::{Case, User, compare};
use chitin_tests::{Place, Scratch, run};
use std::path::Path;
use std::time::Duration;

const DRIVER: &str = include_str!("type.py");
/// No dialogue takes longer than this.
const LIMIT: Duration = Duration::from_secs(120);

/// Name, the program it needs, the command, and the dialogue: what must appear (a regular expression), then what is
/// typed (with Python's escapes), and so on.
type Dialogue = (&'static str, &'static str, &'static str, &'static [&'static str]);

const DIALOGUES: &[Dialogue] = &[
    (
        "vim",
        "vim",
        "vim -N -u NONE -i NONE -n text; cat -A text; echo done",
        &[
            "text.*New",
            "ione two\\nthree\\x1b",
            "three",
            ":%s/two/2/\\r",
            "2",
            "ggyyGp",
            "",
            ":set nu|wq\\r",
            "one 2\\$\\r\\nthree\\$\\r\\none 2\\$\\r\\ndone",
        ],
    ),
    (
        "vim_with_a_shell",
        "vim",
        "seq 300 > text; vim -N -u NONE -i NONE -n text; echo status $?",
        &[
            "300L|300 lines",
            ":200\\r",
            "200",
            "dd:!echo from-$((40+2))\\r",
            "from-42.*ENTER",
            "\\r",
            "201",
            ":r !head -1 text\\r",
            "",
            ":wq\\r",
            "written|300L.*status 0|status 0",
        ],
    ),
    (
        "less",
        "less",
        "seq -f 'line %g' 5000 > text; less text; echo status $?",
        &[
            "line 1\\r?\\n",
            "G",
            "line 5000",
            "g",
            "line 1\\r?\\n",
            "/e 4321\\r",
            "4321",
            "100g",
            "line 100",
            "q",
            "status 0",
        ],
    ),
    (
        "less_of_a_pipe",
        "less",
        "(seq -f 'line %g' 90; sleep 0.3; seq -f 'line %g' 91 200) | less; echo status $?",
        &["line 1\\r?\\n", "G", "line 200", "-N\\r", "", "q", "status 0"],
    ),
    (
        "shell_line_editing",
        "bash",
        "bash --norc --noprofile -i",
        &[
            "[$#] ",
            "echo one tow\\x7f\\x7fwo | tr a-z A-Z\\r",
            "ONE TWO",
            "stty size; tty | cut -c1-9\\r",
            "24 80\\r\\n/dev/pts/",
            "cat\\r",
            "",
            "typed\\r",
            "typed\\r\\ntyped",
            "\\x03",
            "[$#] ",
            "sleep 60\\r",
            "",
            "\\x1a",
            "Stopped",
            "fg\\r",
            "sleep 60",
            "",
            "",
            "\\x03",
            "[$#] ",
            "exit 5\\r",
            "exit",
        ],
    ),
    ("top", "top", "top -d 0.3; echo status $?", &["PID +USER", "", "%Cpu", "q", "status 0"]),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, program, command, steps) in DIALOGUES {
        let needs: &'static str = match program {
            "vim" => "python3 vim",
            "less" => "python3 less",
            "top" => "python3 top",
            _ => "python3 bash",
        };
        cases.push(Case::new(&format!("terminal_{name}"), needs, move |place| {
            from_outside(&Place::Native, command, steps)?;
            from_outside(place, command, steps)
        }));
        cases.push(Case::new(&format!("terminal_inside_{name}"), needs, move |place| {
            let script =
                format!("cat > .type.py <<'END'\n{DRIVER}\nEND\n{}", invocation(command, steps));
            compare(place, &script, User::Caller)
        }));
    }
    cases
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The driver and the program are inside.
fn invocation(command: &str, steps: &[&str]) -> String {
    let steps: Vec<String> = steps.iter().map(|s| quoted(s)).collect();
    format!("python3 .type.py {} -- /bin/bash -c {}", steps.join(" "), quoted(command))
}

/// The terminal is on the host.
fn from_outside(place: &Place, command: &str, steps: &[&str]) -> Result<(), String> {
    let scratch = Scratch::new("type")?;
    let program = place.command(&["/bin/bash", "-c", command], scratch.path());
    let mut driver = Place::Native.command(&["python3", "-c", DRIVER], Path::new(scratch.path()));
    driver.args(steps).arg("--").arg(program.get_program()).args(program.get_args());
    let out = run(&mut driver, b"", LIMIT)?;
    let left = std::fs::read_dir(scratch.path()).map_err(|e| e.to_string())?.count();
    if matches!(place, Place::Chitin(_)) && left > 0 {
        return Err(format!("{left} file(s) reached the host"));
    }
    match out.status == 0 && !out.timed_out {
        true => Ok(()),
        false => Err(format!("{}: {out}", place.name())),
    }
}
