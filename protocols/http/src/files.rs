//! Files: the console and the documentation, which are part of the binary, and folders of the user's (docs/http.md §6).
//!
//! A path is decoded once and split; a segment that begins with a dot or holds a separator is not served. What is left is resolved on
//! disk and must still lie in the folder, so that no symbolic link leads out.

use crate::server::{empty, set, tagged, typed};
use crate::wire;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use sb_board::HttpSettings;
use sb_board::mount::Body;
use sb_core::model::{Error, Result};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Read from disk at a time.
const PIECE: usize = 64 * 1024;

/// The file a path names, if there is one.
pub(crate) async fn serve(settings: &HttpSettings, parts: &Parts) -> Result<Option<Response<Body>>> {
    let path = parts.uri.path();
    if path == "/console" {
        return Ok(Some(redirect("/console/")));
    }
    if let Some(rest) = path.strip_prefix("/console/") {
        return Ok(console(settings, parts, rest));
    }
    if path == "/docs" {
        return Ok(Some(redirect("/docs/")));
    }
    if let Some(rest) = path.strip_prefix("/docs/") {
        return Ok(page(settings, parts, rest));
    }
    for (prefix, folder) in &settings.static_dirs {
        let Some(rest) = below(prefix, path) else { continue };
        if let Some(response) = from_folder(folder, rest, parts).await? {
            return Ok(Some(response));
        }
    }
    if path == "/" {
        return Ok(Some(match settings.console.is_empty() {
            false => redirect("/console/"),
            true => typed(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                "Switchboard. What is spoken here: /openapi.json\n".to_owned().into(),
            ),
        }));
    }
    Ok(None)
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    set(&mut response, header::LOCATION, to);
    response
}

/// What of a path is behind a prefix, at a boundary of segments.
fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match path.strip_prefix(prefix)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// Whether the client knows this state of a file.
fn known(parts: &Parts, tag: &str) -> bool {
    let values = parts.headers.get_all(header::IF_NONE_MATCH);
    values.iter().any(|v| v.to_str().is_ok_and(|v| wire::names_tag(v, tag)))
}

fn console(settings: &HttpSettings, parts: &Parts, rest: &str) -> Option<Response<Body>> {
    let name = if rest.is_empty() { "index.html" } else { rest };
    let (_, content_type, gzip, bytes) = settings.console.iter().copied().find(|(path, ..)| *path == name)?;
    let tag = format!("\"{:x}\"", xxh3_64(bytes));
    let mut response = if known(parts, &tag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let takes_gzip = parts
            .headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| wire::accepts(v, "gzip"));
        let mut response = match (gzip, takes_gzip) {
            (true, false) => {
                let mut plain = Vec::new();
                // Our own bytes, so their size is known to be sane; the cap is for a build that went wrong.
                flate2::read::GzDecoder::new(bytes).take(64 << 20).read_to_end(&mut plain).ok()?;
                typed(StatusCode::OK, content_type, plain.into())
            }
            _ => typed(StatusCode::OK, content_type, Bytes::from_static(bytes).into()),
        };
        if gzip && takes_gzip {
            set(&mut response, header::CONTENT_ENCODING, "gzip");
        }
        response
    };
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static("default-src 'self'; style-src 'self'; img-src 'self' data:");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Some(tagged(response, &tag))
}

/// A page of the documentation; with `.md` behind its name as it was written.
fn page(settings: &HttpSettings, parts: &Parts, rest: &str) -> Option<Response<Body>> {
    let (name, plain) = rest.strip_suffix(".md").map_or((rest, false), |name| (name, true));
    let (_, html, markdown) = settings.docs.iter().copied().find(|(path, ..)| *path == name)?;
    let (content_type, text) = match plain {
        true => ("text/markdown; charset=utf-8", markdown),
        false => ("text/html; charset=utf-8", html),
    };
    let tag = format!("\"{:x}\"", xxh3_64(text.as_bytes()));
    let mut response = match known(parts, &tag) {
        true => empty(StatusCode::NOT_MODIFIED),
        false => typed(StatusCode::OK, content_type, Bytes::from_static(text.as_bytes()).into()),
    };
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Some(tagged(response, &tag))
}

/// The decoded segments of a path below a folder; `None` when one of them is not to be served.
fn segments(rest: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for raw in rest.split('/').filter(|s| !s.is_empty()) {
        let segment = wire::percent_decode(raw)?;
        if segment.starts_with('.') || segment.contains(['/', '\\', '\0', ':']) {
            return None;
        }
        path.push(&*segment);
    }
    Some(path)
}

/// The file in a folder, with symbolic links followed only as long as they stay inside and lead to nothing hidden.
fn resolve(folder: &Path, rest: &str) -> Option<Resolved> {
    let wanted = segments(rest)?;
    let root = folder.canonicalize().ok()?;
    // The type follows the name that was asked for, also where that is a link to another.
    let mut content_type = content_type(&wanted);
    let mut path = root.join(wanted).canonicalize().ok()?;
    let slash = rest.is_empty() || rest.ends_with('/');
    if path.is_dir() {
        path = path.join("index.html").canonicalize().ok()?;
        if !slash {
            // Relative links of the page behind it need the slash. Only for what lies inside and is served.
            return (inside(&root, &path) && path.is_file()).then_some(Resolved::Slash);
        }
        content_type = "text/html; charset=utf-8";
    } else if slash {
        return None;
    }
    if !inside(&root, &path) {
        return None;
    }
    let file = std::fs::File::open(&path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() {
        return None;
    }
    let modified = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let tag = format!("\"{:x}-{:x}\"", modified.map_or(0, |d| d.as_nanos()), meta.len());
    Some(Resolved::File { content_type, length: meta.len(), tag, file })
}

fn inside(root: &Path, path: &Path) -> bool {
    let hidden = |c: std::path::Component<'_>| c.as_os_str().to_string_lossy().starts_with('.');
    path.strip_prefix(root).is_ok_and(|below| !below.components().any(hidden))
}

enum Resolved {
    Slash,
    File { file: std::fs::File, content_type: &'static str, length: u64, tag: String },
}

async fn from_folder(folder: &Path, rest: &str, parts: &Parts) -> Result<Option<Response<Body>>> {
    let (folder, rest) = (folder.to_owned(), rest.to_owned());
    let found = tokio::task::spawn_blocking(move || resolve(&folder, &rest))
        .await
        .map_err(|e| Error::internal(format!("a file could not be looked up: {e}")))?;
    Ok(found.map(|found| match found {
        Resolved::Slash => {
            // One slash first: a path such as //host must not become a link to another host.
            redirect(&format!("/{}/", parts.uri.path().trim_start_matches('/')))
        }
        Resolved::File { tag, .. } if known(parts, &tag) => tagged(empty(StatusCode::NOT_MODIFIED), &tag),
        Resolved::File { file, content_type, length, tag } => {
            let body = FileBody { file: tokio::fs::File::from_std(file), left: length };
            let mut response = typed(StatusCode::OK, content_type, Body::Stream(Box::pin(body)));
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            tagged(response, &tag)
        }
    }))
}

/// A file as it is read. It ends where the file ended when it was opened.
struct FileBody {
    file: tokio::fs::File,
    left: u64,
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; size];
        let mut buffer = ReadBuf::new(&mut piece);
        match Pin::new(&mut self.file).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().len();
                if read == 0 {
                    let cut =
                        std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter");
                    return Poll::Ready(Some(Err(cut)));
                }
                piece.truncate(read);
                self.left = self.left.saturating_sub(read as u64);
                Poll::Ready(Some(Ok(Frame::data(piece.into()))))
            }
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("txt" | "md" | "log") => "text/plain; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        Some("xml") => "application/xml",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("avif") => "image/avif",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("woff") => "font/woff",
        Some("wasm") => "application/wasm",
        Some("pdf") => "application/pdf",
        Some("webmanifest") => "application/manifest+json",
        Some("mp3") => "audio/mpeg",
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_segments() {
        assert_eq!(below("/", "/a/b"), Some("a/b"));
        assert_eq!(below("/app", "/app"), Some(""));
        assert_eq!(below("/app/", "/app/x"), Some("x"));
        assert_eq!(below("/app", "/apple"), None);
        assert_eq!(below("/app", "/x"), None);
    }

    #[test]
    fn what_is_hidden_or_outside_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside.txt"));
        std::fs::create_dir_all(root.join("sub/.git")).unwrap();
        std::fs::write(&outside, "secret").unwrap();
        for name in ["index.html", "a b.txt", ".env", "sub/index.html", "sub/.git/config"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("out.txt")).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("up")).unwrap();
        std::os::unix::fs::symlink(root.join(".env"), root.join("env.txt")).unwrap();
        std::os::unix::fs::symlink(root.join("index.html"), root.join("in.html")).unwrap();
        for good in ["", "index.html", "a%20b.txt", "sub/", "sub/index.html", "in.html"] {
            assert!(matches!(resolve(&root, good), Some(Resolved::File { .. })), "{good}");
        }
        assert!(matches!(resolve(&root, "sub"), Some(Resolved::Slash)));
        for bad in [
            ".env",
            "%2eenv",
            "sub/.git/config",
            "../outside.txt",
            "%2e%2e/outside.txt",
            "..%2foutside.txt",
            "out.txt",
            "up/outside.txt",
            "up",
            "env.txt",
            "nothing",
            "index.html/",
            "a%00b",
            "%ff",
            "sub%5c..",
            "sub%2findex.html",
            "/etc/passwd",
        ] {
            assert!(resolve(&root, bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        std::fs::write(dir.path().join("big.bin"), &bytes).unwrap();
        let (parts, ()) = http::Request::get("/big.bin").body(()).unwrap().into_parts();
        let response = from_folder(dir.path(), "big.bin", &parts).await.unwrap().unwrap();
        let tag = response.headers()[header::ETAG].to_str().unwrap().to_owned();
        let got = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(got, bytes);
        let request = http::Request::get("/big.bin").header("if-none-match", tag).body(()).unwrap();
        let again = from_folder(dir.path(), "big.bin", &request.into_parts().0).await.unwrap().unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn the_console_is_served_with_its_policy() {
        static FILES: &[(&str, &str, bool, &[u8])] =
            &[("index.html", "text/html", false, b"<!doctype html>")];
        let settings = HttpSettings { console: FILES, ..HttpSettings::default() };
        let (parts, ()) = http::Request::get("/console/").body(()).unwrap().into_parts();
        let response = console(&settings, &parts, "").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .contains("default-src 'self'")
        );
        assert!(console(&settings, &parts, "../x").is_none());
    }
}
