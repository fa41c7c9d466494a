//! `chitin gateway`: one client in the foreground, `serve` for many, and `client` to add and remove them at run time.

use anyhow::{Context, Result, bail};
use chitin_gateway::config::{
    self, ClientConfig, DEFAULT_ADMIN, DEFAULT_DOCKER, WorkspaceConfig, parse_duration, parse_size,
};
use chitin_gateway::gateway::{DryRun, Single, run_serve, run_single};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `chitin gateway`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct GatewayArgs {
    #[command(subcommand)]
    command: Option<GatewayCommand>,
    /// The client's socket, e.g. unix:/run/build-42.sock
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Option<String>,
    /// The engine's socket
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_DOCKER)]
    docker: String,
    /// The directory of the durable store
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Append the audit log (JSON lines) to a file instead of standard error
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Serve metrics on a socket as well
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Lift refusals that a policy key would lift, and print the policy at the end
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Subcommand)]
enum GatewayCommand {
    /// Runs the gateway for the clients of a file
    Serve {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/chitin/gateway.toml")]
        config: PathBuf,
        /// Only check the configuration
        #[arg(long)]
        check: bool,
    },
    /// Adds, lists and removes clients of a running gateway
    Client {
        /// The admin socket
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADMIN, global = true)]
        admin: String,
        #[command(subcommand)]
        command: ClientCommand,
    },
}

#[derive(Subcommand)]
enum ClientCommand {
    /// Adds a client and prints its socket
    Add {
        /// The client's socket; the gateway chooses if absent
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        #[command(flatten)]
        client: Box<ClientArgs>,
    },
    /// Lists the clients
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes a client and everything it made
    Remove {
        /// The client
        name: String,
    },
}

/// What one client may do.
#[derive(Args)]
struct ClientArgs {
    /// The client's name; from its socket's name if absent
    #[arg(long)]
    name: Option<String>,
    /// Memory of everything together, e.g. 2g
    #[arg(long, value_parser = parse_size)]
    memory: Option<u64>,
    /// CPUs of everything together
    #[arg(long)]
    cpus: Option<f64>,
    /// Processes of everything together
    #[arg(long)]
    pids: Option<u64>,
    /// Bytes on disk of everything together, e.g. 20g
    #[arg(long, value_parser = parse_size)]
    storage: Option<u64>,
    /// Most containers
    #[arg(long, value_name = "N")]
    max_containers: Option<usize>,
    /// Most networks
    #[arg(long, value_name = "N")]
    max_networks: Option<usize>,
    /// Most volumes
    #[arg(long, value_name = "N")]
    max_volumes: Option<usize>,
    /// Most image tags
    #[arg(long, value_name = "N")]
    max_images: Option<usize>,
    /// Most connections at a time
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Remove the client after this time, e.g. 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<std::time::Duration>,
    /// A directory for bind mounts: /path, /path:rw, /path=/host/path or /path=/host/path:rw
    #[arg(long, value_name = "PATH")]
    workspace: Vec<String>,
    /// Let ports be published on 127.0.0.1
    #[arg(long)]
    publish_ports: bool,
    /// An image name that may be pulled, with * at its end for any continuation
    #[arg(long, value_name = "PATTERN")]
    pull: Vec<String>,
    /// An image made on this host that may be used, with * at its end for any continuation
    #[arg(long, value_name = "PATTERN")]
    local_image: Vec<String>,
    /// Let the engine fetch build contexts and ADD sources from URLs
    #[arg(long)]
    remote_build: bool,
    /// The runtime of all containers
    #[arg(long)]
    runtime: Option<String>,
    /// The client's cgroup, or none
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// The socket's mode in octal digits
    #[arg(long)]
    mode: Option<String>,
    /// The socket's owner, uid or uid:gid
    #[arg(long)]
    owner: Option<String>,
    /// A user id that may connect
    #[arg(long, value_name = "UID")]
    peer_uid: Vec<u32>,
}

impl GatewayArgs {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            None => {
                let listen = self.listen.context("--listen is needed")?;
                run_single(Single {
                    client: self.client.into_config(Some(listen))?,
                    docker: self.docker,
                    state: self.state,
                    audit: self.audit,
                    admin: self.admin,
                    dry_run: if self.dry_run { DryRun::On } else { DryRun::Off },
                })
            }
            Some(GatewayCommand::Serve { config, check: false }) => run_serve(&config),
            Some(GatewayCommand::Serve { config, check: true }) => {
                let read = config::Config::load(&config)?;
                println!("{}: fine, {} clients", config.display(), read.clients().count());
                Ok(())
            }
            Some(GatewayCommand::Client { admin, command }) => command.run(&admin),
        }
    }
}

impl ClientCommand {
    fn run(self, admin: &str) -> Result<()> {
        use chitin_gateway::admin::call;
        match self {
            Self::Add { listen, client } => {
                let config = serde_json::to_value(client.into_config(listen)?)?;
                let answer = call(admin, "POST", "/clients", Some(&config))?;
                let answer: serde_json::Value = serde_json::from_str(&answer)?;
                println!("{}", answer.get("listen").and_then(|l| l.as_str()).unwrap_or_default());
            }
            Self::List { json } => {
                let answer = call(admin, "GET", "/clients", None)?;
                if json {
                    print!("{answer}");
                    return Ok(());
                }
                let list: Vec<serde_json::Value> = serde_json::from_str(&answer)?;
                println!("NAME\tCONTAINERS\tNETWORKS\tVOLUMES\tIMAGES\tSOCKET");
                for c in list {
                    let text = |k: &str| match c.get(k) {
                        Some(serde_json::Value::String(s)) => s.clone(),
                        Some(v) => v.to_string(),
                        None => String::new(),
                    };
                    let keys = ["name", "containers", "networks", "volumes", "images", "listen"];
                    println!("{}", keys.map(text).join("\t"));
                }
            }
            Self::Remove { name } => {
                let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                if name.is_empty() || !name.chars().all(good) {
                    bail!("{name:?} is no client's name");
                }
                call(admin, "DELETE", &format!("/clients/{name}"), None)?;
            }
        }
        Ok(())
    }
}

impl ClientArgs {
    fn into_config(self, listen: Option<String>) -> Result<ClientConfig> {
        let name = match (self.name, &listen) {
            (Some(name), _) => name,
            (None, Some(listen)) => {
                let path = config::socket_path(listen)?;
                let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
                stem.to_ascii_lowercase()
            }
            (None, None) => bail!("--name is needed"),
        };
        let workspaces = self.workspace.iter().map(|w| workspace(w)).collect();
        let given = |flag: bool| flag.then_some(true);
        let config = ClientConfig {
            name,
            listen,
            mode: self.mode,
            owner: self.owner,
            peer_uids: self.peer_uid,
            runtime: self.runtime,
            cgroup: self.cgroup,
            memory: self.memory,
            cpus: self.cpus,
            pids: self.pids,
            storage: self.storage,
            shm: None,
            max_containers: self.max_containers,
            max_networks: self.max_networks,
            max_volumes: self.max_volumes,
            max_images: self.max_images,
            max_connections: self.max_connections,
            timeout: self.timeout.map(|t| t.as_secs()),
            workspaces,
            publish_ports: given(self.publish_ports),
            pull: self.pull,
            local_images: self.local_image,
            remote_build: given(self.remote_build),
        };
        config.check()?;
        Ok(config)
    }
}

fn workspace(text: &str) -> WorkspaceConfig {
    let (text, writable) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":ro").unwrap_or(text), false),
    };
    let (path, host) = match text.split_once('=') {
        Some((path, host)) => (path, Some(host.to_owned())),
        None => (text, None),
    };
    WorkspaceConfig { path: path.to_owned(), host, writable, trusted: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_workspaces() {
        let w = workspace("/builds=/srv/builds:rw");
        assert_eq!(
            (w.path.as_str(), w.host.as_deref(), w.writable),
            ("/builds", Some("/srv/builds"), true)
        );
        assert!(!workspace("/builds").writable);
    }
}
