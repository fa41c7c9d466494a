//! `docker cp` into a container: the archive is walked entry by entry.

use hyper::Method;

use crate::answer::{good, relay};
use crate::call::{Call, Reply};
use crate::fault::Fault;
use crate::tarwalk::{Keep, Purpose, Stop, walk};

/// `PUT /containers/{id}/archive`.
pub async fn write(call: Call) -> Result<Reply, Fault> {
    let client = call.client.clone();
    let id = client.container(&call.reference)?;
    call.need_room()?;
    let from = call.body.take();
    let (body, walked) = walk(from, Purpose::Container, Keep);
    let request = call
        .request_with_query(Method::PUT, &["containers", &id, "archive"])
        .content("application/x-tar", body);
    let (walked, answer) = tokio::join!(walked, client.engine().send(request));
    if let Err(Stop::Denied(denied)) = walked {
        return Err(denied.into());
    }
    let asked = Some(("container", call.reference.as_str()));
    Ok(relay(good(&client, answer?, asked).await?).into())
}
