//! Streams of JSON messages, changed or dropped one by one on their way.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::Value;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::body::{Body, BoxError};
use crate::engine::Lines;

/// A body whose JSON lines go through a function; `None` drops a line. A line that is no JSON object is dropped too.
struct Mapped<F> {
    from: Body,
    lines: Option<Lines>,
    f: F,
}

/// Maps a stream of JSON lines.
pub fn map<F>(from: Body, f: F) -> Body
where
    F: FnMut(Value) -> Option<Value> + Send + Unpin + 'static,
{
    Mapped { from, lines: Some(Lines::default()), f }.boxed_unsync()
}

impl<F: FnMut(Value) -> Option<Value>> Mapped<F> {
    fn one(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let Ok(value) = serde_json::from_slice::<Value>(line) else { return };
        if let Some(value) = value.is_object().then(|| (self.f)(value)).flatten() {
            out.extend_from_slice(value.to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl<F: FnMut(Value) -> Option<Value> + Unpin> hyper::body::Body for Mapped<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if self.lines.is_none() {
                return Poll::Ready(None);
            }
            let mut out = Vec::new();
            match ready!(Pin::new(&mut self.from).poll_frame(cx)) {
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let lines = self.lines.as_mut().map(|l| l.push(&data)).transpose()?;
                    for line in lines.unwrap_or_default() {
                        self.one(&line, &mut out);
                    }
                }
                None => {
                    let rest = self.lines.take().map(Lines::rest).unwrap_or_default();
                    self.one(&rest, &mut out);
                }
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::full;

    #[tokio::test]
    async fn drops_and_changes_lines() {
        let body = full("{\"a\":1}\r\n{\"a\":2}\nrubbish\n[1]\n{\"a\":3}");
        let mapped = map(body, |mut v| {
            let n = v.get("a").and_then(Value::as_i64)?;
            v["a"] = (n * 10).into();
            (n != 2).then_some(v)
        });
        let all = mapped.collect().await.expect("read").to_bytes();
        assert_eq!(&all[..], b"{\"a\":10}\r\n{\"a\":30}\r\n");
    }
}
