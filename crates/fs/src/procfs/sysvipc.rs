//! `/proc/sysvipc` and the limits in `/proc/sys/kernel` (`proc_sysvipc(5)`, `sysvipc(7)`).

use crate::synth::Node;
use chitin_abi::ipc::IpcPerm;
use chitin_kernel::ipc::limit;
use chitin_kernel::task::Task;
use std::fmt::Write;
use std::sync::Arc;

fn owners(perm: &IpcPerm) -> String {
    format!("{:>5} {:>5} {:>5} {:>5}", perm.uid, perm.gid, perm.cuid, perm.cgid)
}

fn shm(task: &Arc<Task>) -> Vec<u8> {
    let mut out = String::from(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
         atime      dtime      ctime                   rss                  swap\n",
    );
    for segment in task.kernel.ipc.shm.all() {
        let (id, ds) = (segment.id, &segment.ds);
        let _ = writeln!(
            out,
            "{:>10} {id:>10}  {:>4o} {:>21} {:>5} {:>5}  {:>5} {} {:>10} {:>10} {:>10} {:>21} {:>21}",
            ds.shm_perm.key,
            ds.shm_perm.mode,
            ds.shm_segsz,
            ds.shm_cpid,
            ds.shm_lpid,
            ds.shm_nattch,
            owners(&ds.shm_perm),
            ds.shm_atime,
            ds.shm_dtime,
            ds.shm_ctime,
            segment.resident,
            0,
        );
    }
    out.into_bytes()
}

fn sem(task: &Arc<Task>) -> Vec<u8> {
    let mut out = String::from(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    );
    for set in task.kernel.ipc.sem.all() {
        let (id, ds) = (set.id, &set.ds);
        let _ = writeln!(
            out,
            "{:>10} {id:>10}  {:>4o} {:>10} {} {:>10} {:>10}",
            ds.sem_perm.key,
            ds.sem_perm.mode,
            ds.sem_nsems,
            owners(&ds.sem_perm),
            ds.sem_otime,
            ds.sem_ctime,
        );
    }
    out.into_bytes()
}

fn msg(task: &Arc<Task>) -> Vec<u8> {
    let mut out = String::from(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
         stime      rtime      ctime\n",
    );
    for queue in task.kernel.ipc.msg.all() {
        let (id, ds) = (queue.id, &queue.ds);
        let _ = writeln!(
            out,
            "{:>10} {id:>10}  {:>4o}  {:>10} {:>10} {:>5} {:>5} {} {:>10} {:>10} {:>10}",
            ds.msg_perm.key,
            ds.msg_perm.mode,
            ds.msg_cbytes,
            ds.msg_qnum,
            ds.msg_lspid,
            ds.msg_lrpid,
            owners(&ds.msg_perm),
            ds.msg_stime,
            ds.msg_rtime,
            ds.msg_ctime,
        );
    }
    out.into_bytes()
}

/// `/proc/sysvipc`.
pub(super) fn sysvipc() -> Node {
    Node::dir(vec![
        ("msg", Node::file(|t| Ok(msg(t)))),
        ("sem", Node::file(|t| Ok(sem(t)))),
        ("shm", Node::file(|t| Ok(shm(t)))),
    ])
}

/// The limits, which cannot be changed.
pub(super) fn limits() -> Vec<(&'static str, Node)> {
    let number = |n: u64| Node::text(format!("{n}\n"));
    let (per_set, all) = (limit::SEMMSL, limit::SEMMNS);
    let sem = format!("{per_set}\t{all}\t{}\t{}\n", limit::SEMOPM, limit::SEMMNI);
    vec![
        ("msgmax", number(limit::MSGMAX as u64)),
        ("msgmnb", number(limit::MSGMNB as u64)),
        ("msgmni", number(limit::MSGMNI as u64)),
        ("sem", Node::text(sem)),
        ("shm_rmid_forced", number(0)),
        ("shmall", number(limit::SHMMAX)),
        ("shmmax", number(limit::SHMMAX)),
        ("shmmni", number(limit::SHMMNI as u64)),
    ]
}
