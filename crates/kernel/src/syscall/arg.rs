//! Typed arguments of system calls: how the raw register becomes the handler's
//! argument, and how `--strace` shows it.

use chitin_abi::Pod;
use chitin_usermem::{UserAddr, UserMemory, UserPtr};
use std::fmt::Write;

/// The type of an argument in the table.
pub trait Arg: Sized {
    /// Shown after the call, because the call fills it in.
    const OUT: bool = false;

    /// The argument from its register.
    fn from_raw(raw: u64) -> Self;

    /// Appends the decoded value.
    fn show(raw: u64, mem: &dyn UserMemory, out: &mut String);
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Arg for $ty {
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            fn from_raw(raw: u64) -> Self {
                // The kernel looks at as many bits as the C type has.
                raw as $ty
            }
            fn show(raw: u64, _mem: &dyn UserMemory, out: &mut String) {
                let _ = write!(out, "{}", Self::from_raw(raw));
            }
        }
    )*};
}

integers!(i32, u32, i64, u64, usize);

impl Arg for UserAddr {
    fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
    fn show(raw: u64, _mem: &dyn UserMemory, out: &mut String) {
        let _ = write!(out, "{:?}", Self(raw));
    }
}

impl<T: Pod> Arg for UserPtr<T> {
    fn from_raw(raw: u64) -> Self {
        Self::new(UserAddr(raw))
    }
    fn show(raw: u64, mem: &dyn UserMemory, out: &mut String) {
        UserAddr::show(raw, mem, out);
    }
}

/// A pointer to a NUL-terminated path.
#[derive(Clone, Copy, Debug)]
pub struct UserPath(pub UserAddr);

impl Arg for UserPath {
    fn from_raw(raw: u64) -> Self {
        Self(UserAddr(raw))
    }
    fn show(raw: u64, mem: &dyn UserMemory, out: &mut String) {
        match mem.read_cstr(UserAddr(raw), 4095) {
            Ok(bytes) => {
                let _ = write!(out, "{:?}", String::from_utf8_lossy(&bytes));
            }
            Err(_) => UserAddr::show(raw, mem, out),
        }
    }
}

/// A pointer to a socket address.
#[derive(Clone, Copy, Debug)]
pub struct SockAddr(pub UserAddr);

impl Arg for SockAddr {
    /// Calls that tell an address fill it in; for the others it is the same later.
    const OUT: bool = true;

    fn from_raw(raw: u64) -> Self {
        Self(UserAddr(raw))
    }
    fn show(raw: u64, mem: &dyn UserMemory, out: &mut String) {
        show_address(UserAddr(raw), mem, out);
    }
}

/// Appends a socket address as `strace(1)` does, as far as its length is known from it.
fn show_address(at: UserAddr, mem: &dyn UserMemory, out: &mut String) {
    use chitin_abi::socket::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SockaddrIn, SockaddrIn6};
    let mut family = [0; 2];
    if at.is_null() || mem.read(at, &mut family).is_err() {
        return UserAddr::show(at.0, mem, out);
    }
    let _ = match u16::from_ne_bytes(family) {
        AF_UNIX => {
            let Ok(path) = at.offset(2) else { return };
            let name = mem.read_cstr(path, 107).unwrap_or_default();
            let mut rest = [0; 16];
            let hidden =
                name.is_empty() && path.offset(1).is_ok_and(|p| mem.read(p, &mut rest).is_ok());
            match hidden {
                true => write!(out, "{{AF_UNIX, @{:?}…}}", String::from_utf8_lossy(&rest)),
                false => write!(out, "{{AF_UNIX, {:?}}}", String::from_utf8_lossy(&name)),
            }
        }
        AF_INET => match UserPtr::<SockaddrIn>::new(at).read(mem) {
            Ok(a) => {
                let ip = std::net::Ipv4Addr::from(a.addr);
                write!(out, "{{AF_INET, {ip}:{}}}", u16::from_be_bytes(a.port))
            }
            Err(_) => write!(out, "{at:?}"),
        },
        AF_INET6 => match UserPtr::<SockaddrIn6>::new(at).read(mem) {
            Ok(a) => {
                let ip = std::net::Ipv6Addr::from(a.addr);
                write!(out, "{{AF_INET6, [{ip}]:{}}}", u16::from_be_bytes(a.port))
            }
            Err(_) => write!(out, "{at:?}"),
        },
        AF_NETLINK => write!(out, "{{AF_NETLINK}}"),
        other => write!(out, "{{family {other}}}"),
    };
}

/// A flag word, shown in hexadecimal unless a type of its own names the bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(pub u32);

impl Arg for Flags {
    #[allow(clippy::cast_possible_truncation)]
    fn from_raw(raw: u64) -> Self {
        Self(raw as u32)
    }
    fn show(raw: u64, _mem: &dyn UserMemory, out: &mut String) {
        let _ = write!(out, "{:#x}", Self::from_raw(raw).0);
    }
}

/// A file mode, shown in octal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode(pub u32);

impl Arg for Mode {
    #[allow(clippy::cast_possible_truncation)]
    fn from_raw(raw: u64) -> Self {
        Self(raw as u32)
    }
    fn show(raw: u64, _mem: &dyn UserMemory, out: &mut String) {
        let _ = write!(out, "{:#o}", Self::from_raw(raw).0);
    }
}
