//! Numbers and names of the system calls of x86-64 (`syscalls(2)`, `syscall_64.tbl`).
//!
//! The constants carry the name of the call in capitals; [`name`] finds the name of a number.

macro_rules! calls {
    ($($constant:ident $name:literal = $nr:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "(2)`")]
            pub const $constant: u64 = $nr;
        )*

        /// Every system call: its number and its name, in ascending order of numbers.
        pub const ALL: &[(u64, &str)] = &[$(($nr, $name),)*];

        /// The name of a system call, such as `openat`; `None` for a number without one.
        #[must_use]
        pub const fn name(nr: u64) -> Option<&'static str> {
            match nr {
                $($nr => Some($name),)*
                _ => None,
            }
        }

        /// The number of a system call by its name.
        #[must_use]
        pub fn number(name: &str) -> Option<u64> {
            match name {
                $($name => Some($nr),)*
                _ => None,
            }
        }
    };
}

/// No number above this is a system call today.
pub const MAX: u64 = 469;

calls! {
    READ "read" = 0;
    WRITE "write" = 1;
    OPEN "open" = 2;
    CLOSE "close" = 3;
    STAT "stat" = 4;
    FSTAT "fstat" = 5;
    LSTAT "lstat" = 6;
    POLL "poll" = 7;
    LSEEK "lseek" = 8;
    MMAP "mmap" = 9;
    MPROTECT "mprotect" = 10;
    MUNMAP "munmap" = 11;
    BRK "brk" = 12;
    RT_SIGACTION "rt_sigaction" = 13;
    RT_SIGPROCMASK "rt_sigprocmask" = 14;
    RT_SIGRETURN "rt_sigreturn" = 15;
    IOCTL "ioctl" = 16;
    PREAD64 "pread64" = 17;
    PWRITE64 "pwrite64" = 18;
    READV "readv" = 19;
    WRITEV "writev" = 20;
    ACCESS "access" = 21;
    PIPE "pipe" = 22;
    SELECT "select" = 23;
    SCHED_YIELD "sched_yield" = 24;
    MREMAP "mremap" = 25;
    MSYNC "msync" = 26;
    MINCORE "mincore" = 27;
    MADVISE "madvise" = 28;
    SHMGET "shmget" = 29;
    SHMAT "shmat" = 30;
    SHMCTL "shmctl" = 31;
    DUP "dup" = 32;
    DUP2 "dup2" = 33;
    PAUSE "pause" = 34;
    NANOSLEEP "nanosleep" = 35;
    GETITIMER "getitimer" = 36;
    ALARM "alarm" = 37;
    SETITIMER "setitimer" = 38;
    GETPID "getpid" = 39;
    SENDFILE "sendfile" = 40;
    SOCKET "socket" = 41;
    CONNECT "connect" = 42;
    ACCEPT "accept" = 43;
    SENDTO "sendto" = 44;
    RECVFROM "recvfrom" = 45;
    SENDMSG "sendmsg" = 46;
    RECVMSG "recvmsg" = 47;
    SHUTDOWN "shutdown" = 48;
    BIND "bind" = 49;
    LISTEN "listen" = 50;
    GETSOCKNAME "getsockname" = 51;
    GETPEERNAME "getpeername" = 52;
    SOCKETPAIR "socketpair" = 53;
    SETSOCKOPT "setsockopt" = 54;
    GETSOCKOPT "getsockopt" = 55;
    CLONE "clone" = 56;
    FORK "fork" = 57;
    VFORK "vfork" = 58;
    EXECVE "execve" = 59;
    EXIT "exit" = 60;
    WAIT4 "wait4" = 61;
    KILL "kill" = 62;
    UNAME "uname" = 63;
    SEMGET "semget" = 64;
    SEMOP "semop" = 65;
    SEMCTL "semctl" = 66;
    SHMDT "shmdt" = 67;
    MSGGET "msgget" = 68;
    MSGSND "msgsnd" = 69;
    MSGRCV "msgrcv" = 70;
    MSGCTL "msgctl" = 71;
    FCNTL "fcntl" = 72;
    FLOCK "flock" = 73;
    FSYNC "fsync" = 74;
    FDATASYNC "fdatasync" = 75;
    TRUNCATE "truncate" = 76;
    FTRUNCATE "ftruncate" = 77;
    GETDENTS "getdents" = 78;
    GETCWD "getcwd" = 79;
    CHDIR "chdir" = 80;
    FCHDIR "fchdir" = 81;
    RENAME "rename" = 82;
    MKDIR "mkdir" = 83;
    RMDIR "rmdir" = 84;
    CREAT "creat" = 85;
    LINK "link" = 86;
    UNLINK "unlink" = 87;
    SYMLINK "symlink" = 88;
    READLINK "readlink" = 89;
    CHMOD "chmod" = 90;
    FCHMOD "fchmod" = 91;
    CHOWN "chown" = 92;
    FCHOWN "fchown" = 93;
    LCHOWN "lchown" = 94;
    UMASK "umask" = 95;
    GETTIMEOFDAY "gettimeofday" = 96;
    GETRLIMIT "getrlimit" = 97;
    GETRUSAGE "getrusage" = 98;
    SYSINFO "sysinfo" = 99;
    TIMES "times" = 100;
    PTRACE "ptrace" = 101;
    GETUID "getuid" = 102;
    SYSLOG "syslog" = 103;
    GETGID "getgid" = 104;
    SETUID "setuid" = 105;
    SETGID "setgid" = 106;
    GETEUID "geteuid" = 107;
    GETEGID "getegid" = 108;
    SETPGID "setpgid" = 109;
    GETPPID "getppid" = 110;
    GETPGRP "getpgrp" = 111;
    SETSID "setsid" = 112;
    SETREUID "setreuid" = 113;
    SETREGID "setregid" = 114;
    GETGROUPS "getgroups" = 115;
    SETGROUPS "setgroups" = 116;
    SETRESUID "setresuid" = 117;
    GETRESUID "getresuid" = 118;
    SETRESGID "setresgid" = 119;
    GETRESGID "getresgid" = 120;
    GETPGID "getpgid" = 121;
    SETFSUID "setfsuid" = 122;
    SETFSGID "setfsgid" = 123;
    GETSID "getsid" = 124;
    CAPGET "capget" = 125;
    CAPSET "capset" = 126;
    RT_SIGPENDING "rt_sigpending" = 127;
    RT_SIGTIMEDWAIT "rt_sigtimedwait" = 128;
    RT_SIGQUEUEINFO "rt_sigqueueinfo" = 129;
    RT_SIGSUSPEND "rt_sigsuspend" = 130;
    SIGALTSTACK "sigaltstack" = 131;
    UTIME "utime" = 132;
    MKNOD "mknod" = 133;
    USELIB "uselib" = 134;
    PERSONALITY "personality" = 135;
    USTAT "ustat" = 136;
    STATFS "statfs" = 137;
    FSTATFS "fstatfs" = 138;
    SYSFS "sysfs" = 139;
    GETPRIORITY "getpriority" = 140;
    SETPRIORITY "setpriority" = 141;
    SCHED_SETPARAM "sched_setparam" = 142;
    SCHED_GETPARAM "sched_getparam" = 143;
    SCHED_SETSCHEDULER "sched_setscheduler" = 144;
    SCHED_GETSCHEDULER "sched_getscheduler" = 145;
    SCHED_GET_PRIORITY_MAX "sched_get_priority_max" = 146;
    SCHED_GET_PRIORITY_MIN "sched_get_priority_min" = 147;
    SCHED_RR_GET_INTERVAL "sched_rr_get_interval" = 148;
    MLOCK "mlock" = 149;
    MUNLOCK "munlock" = 150;
    MLOCKALL "mlockall" = 151;
    MUNLOCKALL "munlockall" = 152;
    VHANGUP "vhangup" = 153;
    MODIFY_LDT "modify_ldt" = 154;
    PIVOT_ROOT "pivot_root" = 155;
    SYSCTL "_sysctl" = 156;
    PRCTL "prctl" = 157;
    ARCH_PRCTL "arch_prctl" = 158;
    ADJTIMEX "adjtimex" = 159;
    SETRLIMIT "setrlimit" = 160;
    CHROOT "chroot" = 161;
    SYNC "sync" = 162;
    ACCT "acct" = 163;
    SETTIMEOFDAY "settimeofday" = 164;
    MOUNT "mount" = 165;
    UMOUNT2 "umount2" = 166;
    SWAPON "swapon" = 167;
    SWAPOFF "swapoff" = 168;
    REBOOT "reboot" = 169;
    SETHOSTNAME "sethostname" = 170;
    SETDOMAINNAME "setdomainname" = 171;
    IOPL "iopl" = 172;
    IOPERM "ioperm" = 173;
    CREATE_MODULE "create_module" = 174;
    INIT_MODULE "init_module" = 175;
    DELETE_MODULE "delete_module" = 176;
    GET_KERNEL_SYMS "get_kernel_syms" = 177;
    QUERY_MODULE "query_module" = 178;
    QUOTACTL "quotactl" = 179;
    NFSSERVCTL "nfsservctl" = 180;
    GETPMSG "getpmsg" = 181;
    PUTPMSG "putpmsg" = 182;
    AFS_SYSCALL "afs_syscall" = 183;
    TUXCALL "tuxcall" = 184;
    SECURITY "security" = 185;
    GETTID "gettid" = 186;
    READAHEAD "readahead" = 187;
    SETXATTR "setxattr" = 188;
    LSETXATTR "lsetxattr" = 189;
    FSETXATTR "fsetxattr" = 190;
    GETXATTR "getxattr" = 191;
    LGETXATTR "lgetxattr" = 192;
    FGETXATTR "fgetxattr" = 193;
    LISTXATTR "listxattr" = 194;
    LLISTXATTR "llistxattr" = 195;
    FLISTXATTR "flistxattr" = 196;
    REMOVEXATTR "removexattr" = 197;
    LREMOVEXATTR "lremovexattr" = 198;
    FREMOVEXATTR "fremovexattr" = 199;
    TKILL "tkill" = 200;
    TIME "time" = 201;
    FUTEX "futex" = 202;
    SCHED_SETAFFINITY "sched_setaffinity" = 203;
    SCHED_GETAFFINITY "sched_getaffinity" = 204;
    SET_THREAD_AREA "set_thread_area" = 205;
    IO_SETUP "io_setup" = 206;
    IO_DESTROY "io_destroy" = 207;
    IO_GETEVENTS "io_getevents" = 208;
    IO_SUBMIT "io_submit" = 209;
    IO_CANCEL "io_cancel" = 210;
    GET_THREAD_AREA "get_thread_area" = 211;
    LOOKUP_DCOOKIE "lookup_dcookie" = 212;
    EPOLL_CREATE "epoll_create" = 213;
    EPOLL_CTL_OLD "epoll_ctl_old" = 214;
    EPOLL_WAIT_OLD "epoll_wait_old" = 215;
    REMAP_FILE_PAGES "remap_file_pages" = 216;
    GETDENTS64 "getdents64" = 217;
    SET_TID_ADDRESS "set_tid_address" = 218;
    RESTART_SYSCALL "restart_syscall" = 219;
    SEMTIMEDOP "semtimedop" = 220;
    FADVISE64 "fadvise64" = 221;
    TIMER_CREATE "timer_create" = 222;
    TIMER_SETTIME "timer_settime" = 223;
    TIMER_GETTIME "timer_gettime" = 224;
    TIMER_GETOVERRUN "timer_getoverrun" = 225;
    TIMER_DELETE "timer_delete" = 226;
    CLOCK_SETTIME "clock_settime" = 227;
    CLOCK_GETTIME "clock_gettime" = 228;
    CLOCK_GETRES "clock_getres" = 229;
    CLOCK_NANOSLEEP "clock_nanosleep" = 230;
    EXIT_GROUP "exit_group" = 231;
    EPOLL_WAIT "epoll_wait" = 232;
    EPOLL_CTL "epoll_ctl" = 233;
    TGKILL "tgkill" = 234;
    UTIMES "utimes" = 235;
    VSERVER "vserver" = 236;
    MBIND "mbind" = 237;
    SET_MEMPOLICY "set_mempolicy" = 238;
    GET_MEMPOLICY "get_mempolicy" = 239;
    MQ_OPEN "mq_open" = 240;
    MQ_UNLINK "mq_unlink" = 241;
    MQ_TIMEDSEND "mq_timedsend" = 242;
    MQ_TIMEDRECEIVE "mq_timedreceive" = 243;
    MQ_NOTIFY "mq_notify" = 244;
    MQ_GETSETATTR "mq_getsetattr" = 245;
    KEXEC_LOAD "kexec_load" = 246;
    WAITID "waitid" = 247;
    ADD_KEY "add_key" = 248;
    REQUEST_KEY "request_key" = 249;
    KEYCTL "keyctl" = 250;
    IOPRIO_SET "ioprio_set" = 251;
    IOPRIO_GET "ioprio_get" = 252;
    INOTIFY_INIT "inotify_init" = 253;
    INOTIFY_ADD_WATCH "inotify_add_watch" = 254;
    INOTIFY_RM_WATCH "inotify_rm_watch" = 255;
    MIGRATE_PAGES "migrate_pages" = 256;
    OPENAT "openat" = 257;
    MKDIRAT "mkdirat" = 258;
    MKNODAT "mknodat" = 259;
    FCHOWNAT "fchownat" = 260;
    FUTIMESAT "futimesat" = 261;
    NEWFSTATAT "newfstatat" = 262;
    UNLINKAT "unlinkat" = 263;
    RENAMEAT "renameat" = 264;
    LINKAT "linkat" = 265;
    SYMLINKAT "symlinkat" = 266;
    READLINKAT "readlinkat" = 267;
    FCHMODAT "fchmodat" = 268;
    FACCESSAT "faccessat" = 269;
    PSELECT6 "pselect6" = 270;
    PPOLL "ppoll" = 271;
    UNSHARE "unshare" = 272;
    SET_ROBUST_LIST "set_robust_list" = 273;
    GET_ROBUST_LIST "get_robust_list" = 274;
    SPLICE "splice" = 275;
    TEE "tee" = 276;
    SYNC_FILE_RANGE "sync_file_range" = 277;
    VMSPLICE "vmsplice" = 278;
    MOVE_PAGES "move_pages" = 279;
    UTIMENSAT "utimensat" = 280;
    EPOLL_PWAIT "epoll_pwait" = 281;
    SIGNALFD "signalfd" = 282;
    TIMERFD_CREATE "timerfd_create" = 283;
    EVENTFD "eventfd" = 284;
    FALLOCATE "fallocate" = 285;
    TIMERFD_SETTIME "timerfd_settime" = 286;
    TIMERFD_GETTIME "timerfd_gettime" = 287;
    ACCEPT4 "accept4" = 288;
    SIGNALFD4 "signalfd4" = 289;
    EVENTFD2 "eventfd2" = 290;
    EPOLL_CREATE1 "epoll_create1" = 291;
    DUP3 "dup3" = 292;
    PIPE2 "pipe2" = 293;
    INOTIFY_INIT1 "inotify_init1" = 294;
    PREADV "preadv" = 295;
    PWRITEV "pwritev" = 296;
    RT_TGSIGQUEUEINFO "rt_tgsigqueueinfo" = 297;
    PERF_EVENT_OPEN "perf_event_open" = 298;
    RECVMMSG "recvmmsg" = 299;
    FANOTIFY_INIT "fanotify_init" = 300;
    FANOTIFY_MARK "fanotify_mark" = 301;
    PRLIMIT64 "prlimit64" = 302;
    NAME_TO_HANDLE_AT "name_to_handle_at" = 303;
    OPEN_BY_HANDLE_AT "open_by_handle_at" = 304;
    CLOCK_ADJTIME "clock_adjtime" = 305;
    SYNCFS "syncfs" = 306;
    SENDMMSG "sendmmsg" = 307;
    SETNS "setns" = 308;
    GETCPU "getcpu" = 309;
    PROCESS_VM_READV "process_vm_readv" = 310;
    PROCESS_VM_WRITEV "process_vm_writev" = 311;
    KCMP "kcmp" = 312;
    FINIT_MODULE "finit_module" = 313;
    SCHED_SETATTR "sched_setattr" = 314;
    SCHED_GETATTR "sched_getattr" = 315;
    RENAMEAT2 "renameat2" = 316;
    SECCOMP "seccomp" = 317;
    GETRANDOM "getrandom" = 318;
    MEMFD_CREATE "memfd_create" = 319;
    KEXEC_FILE_LOAD "kexec_file_load" = 320;
    BPF "bpf" = 321;
    EXECVEAT "execveat" = 322;
    USERFAULTFD "userfaultfd" = 323;
    MEMBARRIER "membarrier" = 324;
    MLOCK2 "mlock2" = 325;
    COPY_FILE_RANGE "copy_file_range" = 326;
    PREADV2 "preadv2" = 327;
    PWRITEV2 "pwritev2" = 328;
    PKEY_MPROTECT "pkey_mprotect" = 329;
    PKEY_ALLOC "pkey_alloc" = 330;
    PKEY_FREE "pkey_free" = 331;
    STATX "statx" = 332;
    IO_PGETEVENTS "io_pgetevents" = 333;
    RSEQ "rseq" = 334;
    URETPROBE "uretprobe" = 335;
    UPROBE "uprobe" = 336;
    PIDFD_SEND_SIGNAL "pidfd_send_signal" = 424;
    IO_URING_SETUP "io_uring_setup" = 425;
    IO_URING_ENTER "io_uring_enter" = 426;
    IO_URING_REGISTER "io_uring_register" = 427;
    OPEN_TREE "open_tree" = 428;
    MOVE_MOUNT "move_mount" = 429;
    FSOPEN "fsopen" = 430;
    FSCONFIG "fsconfig" = 431;
    FSMOUNT "fsmount" = 432;
    FSPICK "fspick" = 433;
    PIDFD_OPEN "pidfd_open" = 434;
    CLONE3 "clone3" = 435;
    CLOSE_RANGE "close_range" = 436;
    OPENAT2 "openat2" = 437;
    PIDFD_GETFD "pidfd_getfd" = 438;
    FACCESSAT2 "faccessat2" = 439;
    PROCESS_MADVISE "process_madvise" = 440;
    EPOLL_PWAIT2 "epoll_pwait2" = 441;
    MOUNT_SETATTR "mount_setattr" = 442;
    QUOTACTL_FD "quotactl_fd" = 443;
    LANDLOCK_CREATE_RULESET "landlock_create_ruleset" = 444;
    LANDLOCK_ADD_RULE "landlock_add_rule" = 445;
    LANDLOCK_RESTRICT_SELF "landlock_restrict_self" = 446;
    MEMFD_SECRET "memfd_secret" = 447;
    PROCESS_MRELEASE "process_mrelease" = 448;
    FUTEX_WAITV "futex_waitv" = 449;
    SET_MEMPOLICY_HOME_NODE "set_mempolicy_home_node" = 450;
    CACHESTAT "cachestat" = 451;
    FCHMODAT2 "fchmodat2" = 452;
    MAP_SHADOW_STACK "map_shadow_stack" = 453;
    FUTEX_WAKE "futex_wake" = 454;
    FUTEX_WAIT "futex_wait" = 455;
    FUTEX_REQUEUE "futex_requeue" = 456;
    STATMOUNT "statmount" = 457;
    LISTMOUNT "listmount" = 458;
    LSM_GET_SELF_ATTR "lsm_get_self_attr" = 459;
    LSM_SET_SELF_ATTR "lsm_set_self_attr" = 460;
    LSM_LIST_MODULES "lsm_list_modules" = 461;
    MSEAL "mseal" = 462;
    SETXATTRAT "setxattrat" = 463;
    GETXATTRAT "getxattrat" = 464;
    LISTXATTRAT "listxattrat" = 465;
    REMOVEXATTRAT "removexattrat" = 466;
    OPEN_TREE_ATTR "open_tree_attr" = 467;
    FILE_GETATTR "file_getattr" = 468;
    FILE_SETATTR "file_setattr" = 469;
}

#[cfg(test)]
mod tests {
    use super::{ALL, MAX, name};

    #[test]
    fn numbers_ascend_and_have_no_gaps() {
        let mut expected = 0;
        for (nr, _) in ALL {
            // 337..=423 are kept free on x86-64.
            if expected == 337 {
                expected = 424;
            }
            assert_eq!(*nr, expected);
            expected += 1;
        }
        assert_eq!(expected, MAX + 1);
        assert_eq!(name(257), Some("openat"));
        assert_eq!(name(400), None);
    }

    #[test]
    fn numbers_are_those_of_libc() {
        macro_rules! same {
            ($($ours:ident $libc:ident)*) => {
                $(assert_eq!(super::$ours, u64::try_from(libc::$libc).unwrap());)*
            };
        }
        same! {
            READ SYS_read EXECVE SYS_execve PRCTL SYS_prctl FUTEX SYS_futex OPENAT SYS_openat
            PSELECT6 SYS_pselect6 RENAMEAT2 SYS_renameat2 STATX SYS_statx RSEQ SYS_rseq
            CLONE3 SYS_clone3 OPENAT2 SYS_openat2 FACCESSAT2 SYS_faccessat2
            EPOLL_PWAIT2 SYS_epoll_pwait2 FUTEX_WAITV SYS_futex_waitv FCHMODAT2 SYS_fchmodat2
            MSEAL SYS_mseal
        }
    }
}
