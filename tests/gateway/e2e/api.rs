//! bollard, as another client of the API with habits of its own.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use crate::gate::{BUSYBOX, Site, same};

/// A container's whole life through bollard.
pub fn bollard(site: &mut Site) -> Result<(), String> {
    let a = site.gate("a", &[])?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let socket = a.socket.to_string_lossy().into_owned();
    runtime
        .map_err(|e| e.to_string())?
        .block_on(async { life(&socket).await.map_err(|e| format!("bollard: {e}")) })?;
    a.end().map(|_| ())
}

async fn life(socket: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let docker = Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    docker.version().await?;
    docker.info().await?;
    docker
        .create_network(NetworkCreateRequest { name: "net".into(), ..Default::default() })
        .await?;
    docker
        .create_volume(VolumeCreateRequest { name: Some("vol".into()), ..Default::default() })
        .await?;
    let body = ContainerCreateBody {
        image: Some(BUSYBOX.into()),
        cmd: Some(["sh", "-c", "echo out; echo err >&2; sleep 1000"].map(str::to_owned).to_vec()),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name("web").build();
    let id = docker.create_container(Some(options), body).await?.id;
    docker.start_container("web", None::<bollard::query_parameters::StartContainerOptions>).await?;
    let list =
        docker.list_containers(Some(ListContainersOptionsBuilder::new().all(true).build())).await?;
    same("ids", list.first().and_then(|c| c.id.as_deref()).unwrap_or_default(), &id)?;
    let exec = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        cmd: Some(vec!["sort"]),
        ..Default::default()
    };
    let exec = docker.create_exec("web", exec).await?.id;
    let started = docker.start_exec(&exec, None).await?;
    let StartExecResults::Attached { mut output, mut input } = started else {
        return Err("the exec is detached".into());
    };
    input.write_all(b"b\na\n").await?;
    input.shutdown().await?;
    drop(input);
    let mut got = String::new();
    while let Some(part) = output.next().await {
        got.push_str(&String::from_utf8_lossy(&part?.into_bytes()));
    }
    same("exec", &got, "a\nb\n")?;
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
    let logs: Vec<_> = docker.logs("web", Some(options)).collect().await;
    let mut seen = [false; 2];
    for line in logs {
        match line? {
            LogOutput::StdOut { message } => seen[0] |= message.starts_with(b"out"),
            LogOutput::StdErr { message } => seen[1] |= message.starts_with(b"err"),
            _ => {}
        }
    }
    same("logs", &format!("{seen:?}"), "[true, true]")?;
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container("web", Some(options)).await?;
    docker.remove_volume("vol", None::<bollard::query_parameters::RemoveVolumeOptions>).await?;
    docker.remove_network("net").await?;
    Ok(())
}
