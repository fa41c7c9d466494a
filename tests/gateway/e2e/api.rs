//! bollard, as another client of the API with habits of its own.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateContainerOptionsBuilder, DataUsageOptions,
    DownloadFromContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    ListImagesOptions, ListNetworksOptions, ListVolumesOptions, LogsOptionsBuilder,
    PruneContainersOptions, RemoveContainerOptionsBuilder, RemoveImageOptions,
    StartContainerOptions, StatsOptionsBuilder, TagImageOptionsBuilder,
    UploadToContainerOptionsBuilder, WaitContainerOptions,
};
use chitin_tests::run;
use futures_util::StreamExt;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncWriteExt;

use crate::gate::{BUSYBOX, Site, lacks, same};

type Anything<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A container's whole life through bollard, files, streams and builds, and two clients of it side by side.
pub fn bollard(site: &mut Site) -> Result<(), String> {
    let (a, b) = (site.gate("a", &[])?, site.gate("b", &[])?);
    let dir = site.engine.dir().join("bollard");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let dockerfile = format!("FROM {BUSYBOX}\nCOPY file /file\nCMD [\"cat\", \"/file\"]\n");
    std::fs::write(dir.join("Dockerfile"), dockerfile).map_err(|e| e.to_string())?;
    std::fs::write(dir.join("file"), "content\n").map_err(|e| e.to_string())?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&dir).args(["-c", "--format=ustar", "Dockerfile", "file"]);
    let tar = run(&mut tar, b"", Duration::from_secs(20))?.stdout;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let path = |gate: &crate::gate::Gate| gate.socket.to_string_lossy().into_owned();
    runtime
        .map_err(|e| e.to_string())?
        .block_on(async {
            let first = connect(&path(&a)).await?;
            let second = connect(&path(&b)).await?;
            life(&first).await?;
            build(&first, tar.clone()).await?;
            beside(&first, &second).await?;
            files_and_streams(&first, tar).await
        })
        .map_err(|e| format!("bollard: {e}"))?;
    b.end()?;
    a.end().map(|_| ())
}

async fn connect(socket: &str) -> Anything<Docker> {
    let docker = Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)?;
    Ok(docker.negotiate_version().await?)
}

/// What a container printed, after it has ended.
async fn output(docker: &Docker, name: &str) -> Anything<String> {
    let mut ends = docker.wait_container(name, None::<WaitContainerOptions>);
    while let Some(end) = ends.next().await {
        end?;
    }
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
    let mut logs = docker.logs(name, Some(options));
    let mut out = String::new();
    while let Some(part) = logs.next().await {
        out.push_str(&String::from_utf8_lossy(&part?.into_bytes()));
    }
    Ok(out)
}

/// Makes and starts a container.
async fn start(docker: &Docker, name: &str, image: &str, cmd: &[&str]) -> Anything<String> {
    let cmd = cmd.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let body = ContainerCreateBody {
        image: Some(image.into()),
        cmd: (!cmd.is_empty()).then_some(cmd),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let id = docker.create_container(Some(options), body).await?.id;
    docker.start_container(name, None::<StartContainerOptions>).await?;
    Ok(id)
}

async fn remove(docker: &Docker, name: &str) -> Anything<()> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    Ok(docker.remove_container(name, Some(options)).await?)
}

/// A build, and what its image does.
async fn build(docker: &Docker, tar: Vec<u8>) -> Anything<()> {
    let options = BuildImageOptionsBuilder::new().t("app:1").rm(true).build();
    let mut steps = docker.build_image(options, None, Some(bollard::body_full(tar.into())));
    let mut said = String::new();
    while let Some(step) = steps.next().await {
        said.push_str(&step?.stream.unwrap_or_default());
    }
    crate::gate::contains("build", &said, "Successfully tagged app:1")?;
    drop(steps);
    start(docker, "built", "app:1", &[]).await?;
    same("built", &output(docker, "built").await?, "content\n")?;
    remove(docker, "built").await?;
    let options = TagImageOptionsBuilder::new().repo("again").tag("2").build();
    docker.tag_image("app:1", Some(options)).await?;
    let images = docker.list_images(None::<ListImagesOptions>).await?;
    let tags: Vec<&String> = images.iter().flat_map(|i| &i.repo_tags).collect();
    if !["app:1", "again:2"].iter().all(|t| tags.iter().any(|have| have == t)) {
        return Err(format!("tags: {tags:?}").into());
    }
    docker.remove_image("again:2", None::<RemoveImageOptions>, None).await?;
    Ok(())
}

/// A second client sees nothing of the first: lists, events, counts; its prune takes nothing.
async fn beside(first: &Docker, second: &Docker) -> Anything<()> {
    let id = start(first, "mine", BUSYBOX, &["sleep", "1000"]).await?;
    first
        .create_volume(VolumeCreateRequest { name: Some("vol".into()), ..Default::default() })
        .await?;
    let everything = ListContainersOptionsBuilder::new().all(true).build();
    let seen = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        second.list_containers(Some(everything)).await?,
        second.list_networks(None::<ListNetworksOptions>).await?,
        second.list_volumes(None::<ListVolumesOptions>).await?,
        second.list_images(None::<ListImagesOptions>).await?,
        second.df(None::<DataUsageOptions>).await?,
        second.info().await?,
    );
    for secret in [&id, "app:1", "vol\"", "mine"] {
        lacks("another client's view", &seen, secret)?;
    }
    second.prune_containers(None::<PruneContainersOptions>).await?;
    // Times are whole seconds, and a span does not hold its end.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let span = EventsOptionsBuilder::new().since("1").until(&now.to_string()).build();
    let all = |docker: &Docker| docker.events(Some(span.clone())).collect::<Vec<_>>();
    lacks("another client's events", &format!("{:?}", all(second).await), &id)?;
    crate::gate::contains("own events", &format!("{:?}", all(first).await), &id)?;
    first.remove_volume("vol", None::<bollard::query_parameters::RemoveVolumeOptions>).await?;
    remove(first, "mine").await
}

/// Archives both ways, and the stream of figures.
async fn files_and_streams(docker: &Docker, tar: Vec<u8>) -> Anything<()> {
    start(docker, "files", BUSYBOX, &["sleep", "1000"]).await?;
    let options = UploadToContainerOptionsBuilder::new().path("/tmp").build();
    docker.upload_to_container("files", Some(options), bollard::body_full(tar.into())).await?;
    let options = DownloadFromContainerOptionsBuilder::new().path("/tmp/file").build();
    let mut archive = docker.download_from_container("files", Some(options));
    let mut bytes = Vec::new();
    while let Some(part) = archive.next().await {
        bytes.extend_from_slice(&part?);
    }
    crate::gate::contains("download", &String::from_utf8_lossy(&bytes), "content\n")?;
    drop(archive);
    let mut figures = docker.stats("files", Some(StatsOptionsBuilder::new().stream(true).build()));
    for _ in 0..2 {
        let one = figures.next().await.ok_or("the figures end")??;
        same("figures of", one.name.unwrap_or_default().trim_start_matches('/'), "files")?;
    }
    drop(figures);
    remove(docker, "files").await
}

async fn life(docker: &Docker) -> Anything<()> {
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
    docker.start_container("web", None::<StartContainerOptions>).await?;
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
    remove(docker, "web").await?;
    docker.remove_volume("vol", None::<bollard::query_parameters::RemoveVolumeOptions>).await?;
    docker.remove_network("net").await?;
    Ok(())
}
