//! What the pure policy asks: [`Snapshot`] answers from the client's index and from what was looked up beforehand.

use chitin_gateway_policy::{Workspace, World};
use serde_json::Value;

use crate::client::{Client, DEFAULT_NETWORK};

/// The world as one client sees it, for one judgement.
pub struct Snapshot<'a> {
    client: &'a Client,
    image: Option<(String, String)>,
    ports: Vec<String>,
}

impl<'a> Snapshot<'a> {
    /// Without an image.
    pub fn new(client: &'a Client) -> Self {
        Self { client, image: None, ports: Vec::new() }
    }

    /// With one image that was resolved: what the client wrote, what the engine is told, and its `Config`.
    #[must_use]
    pub fn with_image(mut self, asked: &str, engine: &str, config: &Value) -> Self {
        self.image = Some((asked.into(), engine.into()));
        let ports = config.get("ExposedPorts").and_then(Value::as_object);
        self.ports = ports.map(|p| p.keys().cloned().collect()).unwrap_or_default();
        self
    }
}

impl World for Snapshot<'_> {
    fn client(&self) -> &str {
        &self.client.name
    }
    fn container(&self, reference: &str) -> Option<String> {
        self.client.container(reference).ok()
    }
    fn network(&self, reference: &str) -> Option<String> {
        self.client.network(reference).ok()
    }
    fn volume(&self, name: &str) -> Option<String> {
        self.client.volume(name).ok()
    }
    fn image(&self, reference: &str) -> Option<String> {
        self.image
            .as_ref()
            .filter(|(asked, _)| asked == reference)
            .map(|(_, engine)| engine.clone())
    }
    fn image_ports(&self, _reference: &str) -> Vec<String> {
        self.ports.clone()
    }
    fn default_network(&self) -> Option<String> {
        self.client.network(DEFAULT_NETWORK).ok()
    }
    fn bind(&self, workspace: &Workspace, path: &str) -> Result<String, String> {
        let root = workspace.path.trim_end_matches('/');
        let below = path.strip_prefix(root).ok_or("is not below the workspace")?;
        let host = workspace.host.as_deref().unwrap_or(root);
        self.client.bind_source(host, below.trim_matches('/'), path)
    }
    fn socket(&self) -> Option<String> {
        self.client.socket.to_str().map(str::to_owned)
    }
}
