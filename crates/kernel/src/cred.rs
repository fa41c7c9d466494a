//! Credentials (`credentials(7)`, `capabilities(7)`). A [`Cred`] is immutable and
//! shared; changing means replacing the task's `Arc`.

/// A set of capabilities, bit n is capability n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CapSet(pub u64);

impl CapSet {
    /// Capabilities 0 to `CAP_LAST_CAP` (40).
    pub const FULL: Self = Self((1 << 41) - 1);

    /// Whether capability number `cap` is in the set.
    #[must_use]
    pub fn has(self, cap: u32) -> bool {
        cap < 64 && self.0 & (1 << cap) != 0
    }
}

/// Identity and privileges of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Cred {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub effective: CapSet,
    pub permitted: CapSet,
    pub inheritable: CapSet,
    pub ambient: CapSet,
    pub bounding: CapSet,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// `PR_SET_SECUREBITS`.
    pub securebits: u32,
}

/// The bit of `securebits` that `PR_SET_KEEPCAPS` sets, and the one that locks it.
pub const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// See there.
pub const SECBIT_KEEP_CAPS_LOCKED: u32 = 1 << 5;

impl Cred {
    /// A user without groups; with all capabilities if it is root.
    #[must_use]
    pub fn for_user(uid: u32, gid: u32, groups: Vec<u32>) -> Self {
        let caps = if uid == 0 { CapSet::FULL } else { CapSet::default() };
        Self {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups,
            effective: caps,
            permitted: caps,
            inheritable: CapSet::default(),
            ambient: CapSet::default(),
            bounding: CapSet::FULL,
            no_new_privs: false,
            securebits: 0,
        }
    }

    /// Whether capability number `cap` is effective.
    #[must_use]
    pub fn has_cap(&self, cap: u32) -> bool {
        self.effective.has(cap)
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
