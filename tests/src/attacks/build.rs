//! The classic build: every parameter that could leave the client's own world.

use super::Case;

const SUBJECT: &str = "build";

/// Queries that must be refused before a byte of the context is read.
#[rustfmt::skip]
const QUERIES: &[&str] = &[
    "networkmode=host", "networkmode=HOST", "networkmode=container:foreign", "networkmode=container:FOREIGN_ID",
    "networkmode=foreign-net", "networkmode=FOREIGN_NET_ID", "networkmode=ns:/proc/1/ns/net",
    "networkmode=none&networkmode=host", "NetworkMode=host", "cgroupparent=/", "cgroupparent=/x", "cgroupparent=../x",
    "version=2", "version=3", "session=abc", "remote=http://169.254.169.254/latest", "remote=git://evil/x",
    "remote=https://evil/x.git", "remote=file:///etc", "remote=github.com/x/y", "remote=client-session",
    "dockerfile=../x", "dockerfile=a/../../x", "dockerfile=a%00", "securityopt=%5B%22seccomp%3Dunconfined%22%5D",
    "securityopt=seccomp", "buildargs=%7B%22BUILDKIT_SYNTAX%22%3A%22x%22%7D", "buildargs=%7B%22a%22%3A1%7D",
    "buildargs=%5B%5D", "buildargs=%7B%22a%22%3A%22b%22%2C%22A%22%3A%22c%22%7D", "cachefrom=%5B%22foreign-image%3A1%22%5D",
    "outputs=%5B%7B%22Type%22%3A%22local%22%7D%5D", "extrahosts=x:host-gateway", "extrahosts=x%3AHOST-GATEWAY",
    "extrahosts=x:1.2.3.4%0Ay", "squash=1", "isolation=hyperv", "cpusetmems=0", "cpusetcpus=0",
    "ulimits=%5B%7B%22Name%22%3A%22nproc%22%2C%22Hard%22%3A1%7D%5D", "labels=%7B%22chitin.gateway.client%22%3A%22b%22%7D",
    "labels=%7B%22Chitin.Gateway.Client%22%3A%22b%22%7D", "labels=%5B%5D", "t=chitin.invalid/b/x", "t=Chitin.Invalid/b/x",
    "t=a%20b", "t=a@sha256:FOREIGN_IMAGE_ID", "t=../x", "t=a//b", "t=a:b:c/", "memory=x", "memory=1099511627776",
    "memswap=-1", "cpuquota=1000000000", "shmsize=1099511627776", "shmsize=-5", "unknown=1", "platform=a%0Ab",
    "rm=1&rm=0", "target=a%00b",
];

pub(super) fn cases() -> Vec<Case> {
    let context = "\0".repeat(1024);
    let build = |q: &&str| {
        let target = format!("/v1.41/build?{q}");
        Case::with(SUBJECT, q, "POST", &target, "application/x-tar", &context)
    };
    QUERIES.iter().map(build).collect()
}
