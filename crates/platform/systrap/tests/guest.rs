//! Guest code on the systrap platform: machine code in, exits out.

use chitin_executor::Executor;
use chitin_platform::{
    AddressSpace, Backing, Context, Exit, KillReason, MapOp, PAGE_SIZE, Platform, Populate, Prot,
};
use chitin_systrap::Systrap;
use chitin_usermem::GuestMemory;
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

const TEXT: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;

struct Platform1 {
    memory: GuestMemory,
    platform: Arc<Systrap>,
}

/// A process has one platform: its reaper takes every child, and its children die with
/// the thread that started it, which therefore never ends.
static ONE: LazyLock<Mutex<Platform1>> = LazyLock::new(|| {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let memory = GuestMemory::new().expect("memory");
        let platform = Systrap::new(memory.fd().as_fd(), 1).expect("the zygote starts");
        platform.start().expect("the platform starts");
        sender.send(Platform1 { memory, platform }).expect("somebody waits");
        loop {
            std::thread::park();
        }
    });
    Mutex::new(receiver.recv().expect("a platform"))
});

struct Machine {
    one: MutexGuard<'static, Platform1>,
    executor: Arc<Executor>,
}

impl Machine {
    fn new() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let executor = Executor::new(one.platform.workers(), 1);
        Self { one, executor }
    }

    /// A space with `code` at TEXT and a writable page at DATA.
    fn space(&self, code: &[u8]) -> Arc<dyn AddressSpace> {
        self.one.memory.write(0, code).expect("in range");
        let map = |addr, offset, prot| MapOp::Map {
            addr,
            len: PAGE_SIZE,
            prot,
            backing: Backing::Memory(offset),
            populate: Populate::Lazy,
        };
        let space = self.one.platform.new_space().expect("a stub");
        space.apply(&[map(TEXT, 0, Prot::RX), map(DATA, PAGE_SIZE, Prot::RW)]).expect("maps");
        space
    }

    /// Runs a future to its end on the executor.
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let (slot, executor) = (result.clone(), self.executor.clone());
        self.executor.spawn(async move {
            let value = future.await;
            *slot.lock().unwrap() = Some(value);
            executor.shutdown();
        });
        self.executor.run();
        result.lock().unwrap().take().expect("the future has ended")
    }
}

async fn next(context: &mut Box<dyn Context>) -> Exit {
    poll_fn(|cx| context.poll_run(cx)).await
}

fn context(space: &Arc<dyn AddressSpace>) -> Box<dyn Context> {
    let mut context = space.clone().new_context().expect("a thread");
    context.regs().rip = TEXT;
    context.regs().rsp = DATA + PAGE_SIZE;
    context
}

#[test]
fn system_calls_come_out_and_results_go_in() {
    let machine = Machine::new();
    // 1: mov eax, 39; syscall; mov [DATA], eax; jmp 1b
    let code = b"\xb8\x27\0\0\0\x0f\x05\x89\x04\x25\0\0\x50\0\xeb\xf0";
    let space = machine.space(code);
    let mut context = context(&space);
    let (first, second) = machine.run(async move {
        let first = next(&mut context).await;
        assert_eq!(context.regs().orig_rax, 39);
        assert_eq!(context.regs().rip, TEXT + 7);
        context.regs().rax = 4711;
        (first, next(&mut context).await)
    });
    assert_eq!((first, second), (Exit::Syscall, Exit::Syscall));
    let mut stored = [0; 4];
    machine.one.memory.read(PAGE_SIZE, &mut stored).unwrap();
    assert_eq!(u32::from_le_bytes(stored), 4711);
}

#[test]
fn faults_tell_their_address() {
    let machine = Machine::new();
    // mov [0x123000], eax
    let space = machine.space(b"\x89\x04\x25\0\x30\x12\0");
    let mut context = context(&space);
    let exit = machine.run(async move { next(&mut context).await });
    let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
    assert_eq!((fault.addr, fault.write, fault.signo), (0x12_3000, true, libc::SIGSEGV));
}

#[test]
fn a_kick_stops_a_loop() {
    let machine = Machine::new();
    let space = machine.space(b"\xeb\xfe");
    let mut context = context(&space);
    let kicker = context.kicker();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        kicker.kick();
    });
    assert_eq!(machine.run(async move { next(&mut context).await }), Exit::Interrupted);
    thread.join().unwrap();
}

#[test]
fn a_killed_stub_ends_its_contexts() {
    let machine = Machine::new();
    let space = machine.space(b"\xeb\xfe");
    let mut context = context(&space);
    let killer = space.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        killer.kill();
    });
    let exit = machine.run(async move { next(&mut context).await });
    assert!(matches!(exit, Exit::Killed(KillReason::Host { .. })), "{exit:?}");
    thread.join().unwrap();
}

#[test]
fn a_fork_has_the_same_memory_and_its_own_threads() {
    let machine = Machine::new();
    let space = machine.space(b"\xb8\x27\0\0\0\x0f\x05\xeb\xfe");
    let child = space.fork().expect("a second stub");
    drop(space);
    let mut context = context(&child);
    assert_eq!(machine.run(async move { next(&mut context).await }), Exit::Syscall);
}

/// A child may come to run for the first time when all of its parent is gone.
#[test]
fn a_fork_outlives_a_parent_that_ends_at_once() {
    let machine = Machine::new();
    let mut space = machine.space(b"\xb8\x27\0\0\0\x0f\x05\xeb\xfe");
    for generation in 0..500 {
        let child = space.fork().unwrap_or_else(|e| panic!("fork {generation}: {e:?}"));
        space.kill();
        space = child;
    }
    let mut context = context(&space);
    assert_eq!(machine.run(async move { next(&mut context).await }), Exit::Syscall);
}

/// Makes a call, reads a word at `LATER`, and again.
const CALL_AND_READ: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\x8b\x04\x25\0\0\x60\0\xeb\xf0";
const LATER: u64 = 0x60_0000;

#[test]
fn later_changes_are_there_when_the_thread_goes_on() {
    let machine = Machine::new();
    let space = machine.space(CALL_AND_READ);
    let mut context = context(&space);
    machine.run(async move {
        assert_eq!(next(&mut context).await, Exit::Syscall);
        for _ in 0..200 {
            let held = Arc::new(());
            let map = || MapOp::Map {
                addr: LATER,
                len: PAGE_SIZE,
                prot: Prot::R,
                backing: Backing::Memory(2 * PAGE_SIZE),
                populate: Populate::Lazy,
            };
            space.apply_later(&[map()], Box::new(held.clone())).expect("kept");
            assert_eq!(Arc::strong_count(&held), 2, "nothing is done yet");
            assert_eq!(next(&mut context).await, Exit::Syscall);
            assert_eq!(Arc::strong_count(&held), 1, "it is done");
            let unmap = || MapOp::Unmap { addr: LATER, len: PAGE_SIZE };
            space.apply_later(&[unmap()], Box::new(held.clone())).expect("kept");
            let exit = next(&mut context).await;
            assert!(matches!(exit, Exit::Fault(f) if f.addr == LATER), "{exit:?}");
            assert_eq!(Arc::strong_count(&held), 1);
            // What is done at once comes after what was kept.
            space.apply_later(&[map()], Box::new(held.clone())).expect("kept");
            space.apply(&[unmap()]).expect("done");
            assert_eq!(Arc::strong_count(&held), 1);
            context.regs().rip = TEXT;
            assert_eq!(next(&mut context).await, Exit::Syscall);
        }
    });
}

#[test]
fn a_later_change_that_fails_kills() {
    let machine = Machine::new();
    let space = machine.space(CALL_AND_READ);
    let mut context = context(&space);
    let exit = machine.run(async move {
        assert_eq!(next(&mut context).await, Exit::Syscall);
        let nothing = MapOp::Move { from: 0x70_0000, to: LATER, len: PAGE_SIZE };
        space.apply_later(&[nothing], Box::new(())).expect("kept");
        next(&mut context).await
    });
    assert!(matches!(exit, Exit::Killed(KillReason::Host { .. })), "{exit:?}");
}

#[test]
fn the_round_trip_is_measured() {
    let machine = Machine::new();
    let space = machine.space(b"\xb8\x27\0\0\0\x0f\x05\xeb\xf7");
    let mut context = context(&space);
    const ROUNDS: u32 = 20_000;
    let elapsed = machine.run(async move {
        let start = std::time::Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(next(&mut context).await, Exit::Syscall);
        }
        start.elapsed()
    });
    println!("SIGSYS round trip: {} ns", elapsed.as_nanos() / u128::from(ROUNDS));
}
