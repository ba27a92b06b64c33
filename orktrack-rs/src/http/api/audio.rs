//! The sound of a recording, its shape, and its end.

use super::{Asked, Done, good, not_found, recordings, unavailable, wrong};
use crate::{
    end::{Stays, end},
    files::{self, FileError},
    http::Reply,
    peaks::{self, PeaksError},
    store::{
        NotStored, Recording,
        retention::{self, Deleted, FileOf},
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, channel::Channel};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
        HeaderName, HeaderValue, RANGE,
    },
};
use orkvault::{names, sealed::Vessel};
use serde::Deserialize;
use serde_json::json;
use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
};

/// Bytes read at a time.
const BLOCK: usize = 128 << 10;

/// The recording of the path and its file, if the account sees it.
async fn file_of(asked: &Asked<'_>) -> Result<(Recording, FileOf), Reply> {
    let recording = recordings::seen(asked).await?;
    let id = recording.id;
    let file = asked.desk.store.read(move |session| retention::file_of(session, id)).await;
    let file = file.map_err(|error| unavailable(&error))?.ok_or_else(not_found)?;
    Ok((recording, file))
}

async fn open(asked: &Asked<'_>, file: FileOf) -> Result<Vessel, Reply> {
    let roots = asked.desk.config.audio_roots.clone();
    let keys = asked.desk.config.key_file.clone();
    let opened = blocking(move || files::open_sound(&roots, keys.as_deref(), &file)).await?;
    opened.map_err(|error| no_file(&error))
}

/// Work on a thread that may wait for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Reply> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| unavailable(&NotStored::Failed(error.to_string().into())))
}

fn no_file(error: &FileError) -> Reply {
    match error {
        FileError::Outside | FileError::Missing => wrong(StatusCode::NOT_FOUND, &error.to_string()),
        FileError::Sealed(_) | FileError::Failed(_) => {
            wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
    }
}

/// `GET /api/v1/recordings/{id}/audio`, whole or a range of bytes (RFC 9110 section 14).
pub(super) async fn sound(asked: &Asked<'_>) -> Done {
    let (recording, file) = file_of(asked).await?;
    let name = names::plain(&file.filename);
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mpeg",
        Some("flac") => "audio/flac",
        Some("opus" | "ogg") => "audio/ogg",
        _ => "application/octet-stream",
    };
    let ending = name.rsplit_once('.').map_or("bin", |(_, ending)| ending).to_owned();
    let mut file = open(asked, file).await?;
    let length = file.size().map_err(|error| no_file(&FileError::Failed(error)))?;
    let (status, range) = match range(&asked.head.headers, length) {
        Wanted::All => (StatusCode::OK, 0..length),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let mut reply = wrong(StatusCode::RANGE_NOT_SATISFIABLE, "no such range");
            put(&mut reply, CONTENT_RANGE, &format!("bytes */{length}"));
            return Err(reply);
        }
    };
    let bytes = range.end - range.start;
    let body = if asked.head.method == Method::HEAD {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        let start = range.start;
        blocking(move || file.seek(SeekFrom::Start(start)).map(|_| file))
            .await?
            .map(|file| stream(file, bytes))
            .map_err(|error| no_file(&FileError::Failed(error)))?
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    put(&mut reply, CONTENT_TYPE, kind);
    put(&mut reply, ACCEPT_RANGES, "bytes");
    put(&mut reply, CONTENT_LENGTH, &bytes.to_string());
    put(&mut reply, CONTENT_DISPOSITION, &disposition(&recording.recid, &ending));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        put(&mut reply, CONTENT_RANGE, &format!("bytes {}-{last}/{length}", range.start));
    }
    Ok(reply)
}

/// A name for the file where it goes: letters and digits only, whatever the wire called it.
fn disposition(recid: &str, ending: &str) -> String {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(100).collect()
    };
    format!("inline; filename=\"{}.{}\"", plain(recid), plain(ending))
}

fn put(reply: &mut Reply, name: HeaderName, text: &str) {
    if let Ok(text) = HeaderValue::from_str(text) {
        reply.headers_mut().insert(name, text);
    }
}

/// Sends so many bytes of a file; a slow listener holds a file, not a thread.
fn stream(
    mut file: Vessel,
    mut left: u64,
) -> http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error> {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(2);
    tokio::spawn(async move {
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
            let read = tokio::task::spawn_blocking(move || {
                let mut block = vec![0; wanted];
                let read = file.read(&mut block).map(|read| {
                    block.truncate(read);
                    block
                });
                (file, read)
            });
            let Ok((back, read)) = read.await else { return };
            file = back;
            match read {
                Ok(block) if !block.is_empty() => {
                    left -= u64::try_from(block.len()).unwrap_or(left).min(left);
                    if sender.send_data(block.into()).await.is_err() {
                        return;
                    }
                }
                Ok(_) => return sender.abort(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return sender.abort(error),
            }
        }
    });
    body.boxed_unsync()
}

#[derive(Debug, Eq, PartialEq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Nothing,
}

/// One range of bytes; of several, or of other units, the whole is sent, as RFC 9110 allows.
fn range(headers: &HeaderMap, length: u64) -> Wanted {
    let text = headers.get(RANGE).and_then(|text| text.to_str().ok());
    let Some(text) = text.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let Some((first, last)) = text.split_once('-').filter(|_| !text.contains(',')) else {
        return Wanted::All;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.trim().is_empty() => first..length,
        (None, Some(last)) if first.trim().is_empty() => length.saturating_sub(last)..length,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    buckets: Option<usize>,
}

/// `GET /api/v1/recordings/{id}/peaks?buckets=800`
pub(super) async fn peaks(asked: &Asked<'_>) -> Done {
    let Form { buckets } = asked.query()?;
    let (_, file) = file_of(asked).await?;
    let mut file = open(asked, file).await?;
    let read = blocking(move || peaks::read(&mut file, buckets.unwrap_or(800))).await?;
    match read {
        Ok(peaks) => Ok(good(&json!(peaks))),
        Err(error @ PeaksError::Unknown(_)) => {
            Err(wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.to_string()))
        }
        Err(PeaksError::Read(error)) => Err(no_file(&FileError::Failed(error))),
    }
}

/// `DELETE /api/v1/recordings/{id}`: the file, and what is known of it. Not under a hold.
pub(super) async fn delete(asked: &Asked<'_>) -> Done {
    let (_, file) = file_of(asked).await?;
    let folders = Arc::new(asked.desk.config.folders());
    match end(&asked.desk.store, folders, file, asked.now, None).await {
        Ok(there) => Ok(good(&json!({ "file_was_there": there }))),
        Err(Stays::Law(why)) => Err(refusal(why)),
        Err(Stays::File(error)) => Err(no_file(&error)),
        Err(Stays::Store(error)) => Err(unavailable(&error)),
    }
}

fn refusal(deleted: Deleted) -> Reply {
    match deleted {
        Deleted::Gone | Deleted::Unknown => not_found(),
        Deleted::Held => wrong(StatusCode::CONFLICT, "the recording is under a legal hold"),
        Deleted::Live => wrong(StatusCode::CONFLICT, "the recording is not finished"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_str(text).unwrap());
            range(&headers, 100)
        };
        assert_eq!(range(&HeaderMap::new(), 100), Wanted::All);
        assert_eq!(read("bytes=0-9"), Wanted::Part(0..10));
        assert_eq!(read("bytes=90-"), Wanted::Part(90..100));
        assert_eq!(read("bytes=-5"), Wanted::Part(95..100));
        assert_eq!(read("bytes=50-500"), Wanted::Part(50..100));
        assert_eq!(read("bytes=-500"), Wanted::Part(0..100));
        assert_eq!(read("bytes=100-"), Wanted::Nothing);
        assert_eq!(read("bytes=-0"), Wanted::Nothing);
        for odd in
            ["bytes=5-1", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=18446744073709551616-"]
        {
            assert_eq!(read(odd), Wanted::All, "{odd}");
        }
        assert_eq!(read("bytes=0-18446744073709551615"), Wanted::Part(0..100));
    }

    #[test]
    fn no_name_leads_out_of_its_header() {
        assert_eq!(
            disposition("2026_AAAB\"\r\nX: y", "wav"),
            "inline; filename=\"2026_AAABXy.wav\""
        );
    }
}
