//! The one network device: `lo` (`netdevice(7)`).

use crate::mm::Mm;
use chitin_abi::socket::*;
use chitin_abi::{Errno, Pod};
use chitin_usermem::{UserAddr, UserMemory, UserPtr};

/// What `lo` is.
pub struct Loopback {
    /// Name.
    pub name: &'static str,
    /// Number.
    pub index: i32,
    /// `IFF_*`.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// Packets.
    pub queue: u32,
}

/// The loopback device.
pub const LOOPBACK: Loopback = Loopback {
    name: "lo",
    index: 1,
    flags: IFF_UP | IFF_LOOPBACK | IFF_RUNNING,
    mtu: 65_536,
    queue: 1000,
};

fn ipv4(addr: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    let a = SockaddrIn { family: AF_INET, addr, ..SockaddrIn::default() };
    out.copy_from_slice(a.as_bytes());
    out
}

fn named() -> [u8; 16] {
    let mut name = [0; 16];
    name.iter_mut().zip(LOOPBACK.name.bytes()).for_each(|(to, from)| *to = from);
    name
}

/// `SIOCGIFCONF`: the devices that have an IPv4 address.
fn list(mm: &Mm, arg: UserAddr) -> Result<(), Errno> {
    // `struct ifconf`: a length and, aligned, a pointer.
    const SIZE: usize = size_of::<Ifreq>();
    let [len, buf] = UserPtr::<[u64; 2]>::new(arg).read(mm)?;
    let room = i32::try_from(len & 0xffff_ffff).unwrap_or(0);
    let mut used = i32::try_from(SIZE).unwrap_or(0);
    if buf != 0 {
        if usize::try_from(room).unwrap_or(0) >= SIZE {
            let mut entry = Ifreq { name: named(), data: [0; 24] };
            entry.data.iter_mut().zip(ipv4([127, 0, 0, 1])).for_each(|(to, from)| *to = from);
            mm.write(UserAddr(buf), entry.as_bytes())?;
        } else {
            used = 0;
        }
    }
    mm.write(arg, &used.to_ne_bytes())
}

/// Serves an ioctl on a device; `None` if it is none.
pub fn ioctl(mm: &Mm, cmd: u32, arg: u64) -> Option<Result<u64, Errno>> {
    let at = UserAddr(arg);
    match cmd {
        SIOCGIFCONF => Some(list(mm, at).map(|()| 0)),
        0x8910..=0x894f => Some(about(mm, cmd, at).map(|()| 0)),
        _ => None,
    }
}

fn about(mm: &Mm, cmd: u32, at: UserAddr) -> Result<(), Errno> {
    let mut request = UserPtr::<Ifreq>::new(at).read(mm)?;
    let number = |n: u32| n.to_ne_bytes().to_vec();
    if cmd == SIOCGIFNAME {
        let index = i32::from_bytes(&request.data).unwrap_or(0);
        if index != LOOPBACK.index {
            return Err(Errno::ENODEV);
        }
        request.name = named();
        return UserPtr::new(at).write(mm, &request);
    }
    let name = request.name.split(|&b| b == 0).next().unwrap_or_default();
    if name != LOOPBACK.name.as_bytes() {
        return Err(Errno::ENODEV);
    }
    let answer = match cmd {
        SIOCGIFFLAGS => u16::try_from(LOOPBACK.flags).unwrap_or(0).to_ne_bytes().to_vec(),
        SIOCGIFADDR | SIOCGIFDSTADDR => ipv4([127, 0, 0, 1]).to_vec(),
        SIOCGIFBRDADDR => ipv4([0; 4]).to_vec(),
        SIOCGIFNETMASK => ipv4([255, 0, 0, 0]).to_vec(),
        SIOCGIFMETRIC => number(0),
        SIOCGIFMTU => number(LOOPBACK.mtu),
        SIOCGIFHWADDR => {
            let mut out = ARPHRD_LOOPBACK.to_ne_bytes().to_vec();
            out.resize(16, 0);
            out
        }
        SIOCGIFINDEX => LOOPBACK.index.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => number(LOOPBACK.queue),
        // Nothing about the device can be changed.
        _ => return Err(Errno::EPERM),
    };
    request.data.iter_mut().zip(answer).for_each(|(to, from)| *to = from);
    UserPtr::new(at).write(mm, &request)
}
