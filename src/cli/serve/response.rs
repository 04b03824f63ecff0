//! What is answered, with the headers that every answer has.

use crate::report::dashboard::Nonce;

pub const HTML: &str = "text/html; charset=utf-8";
pub const TEXT: &str = "text/plain; charset=utf-8";
pub const JSON: &str = "application/json";
/// That of Prometheus's text format.
pub const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub const EVENTS: &str = "text/event-stream";

/// Nothing here is kept, sniffed, framed, or read by other sites.
const ALWAYS: &str = "\
Cache-Control: no-store\r
X-Content-Type-Options: nosniff\r
X-Frame-Options: DENY\r
Referrer-Policy: no-referrer\r
Cross-Origin-Resource-Policy: same-origin\r
Cross-Origin-Opener-Policy: same-origin\r
Connection: close\r
";

pub struct Response {
    status: u16,
    kind: &'static str,
    /// Allows the scripts and styles that carry it.
    nonce: Option<Nonce>,
    more: String,
    body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            kind,
            nonce: None,
            more: String::new(),
            body: body.into(),
        }
    }

    pub fn page(status: u16, nonce: Nonce, body: String) -> Response {
        Response {
            nonce: Some(nonce),
            ..Response::new(status, HTML, body)
        }
    }

    /// One that says why in a line.
    pub fn of_status(status: u16) -> Response {
        let response = Response::new(status, TEXT, format!("{}\n", reason(status)));
        match status {
            405 => response.with("Allow: GET, HEAD"),
            503 => response.with("Retry-After: 2"),
            _ => response,
        }
    }

    /// Adds a header line. Nothing of a request or a site comes into it.
    pub fn with(mut self, line: &str) -> Response {
        self.more.push_str(line);
        self.more.push_str("\r\n");
        self
    }

    /// What is sent; without the body for HEAD.
    pub fn bytes(&self, head_only: bool) -> Vec<u8> {
        let length = format!("Content-Length: {}\r\n", self.body.len());
        let mut bytes = self.head(&length);
        if !head_only {
            bytes.extend(&self.body);
        }
        bytes
    }

    /// The beginning of one that does not end.
    pub fn stream() -> Vec<u8> {
        // A proxy that collects it would hold the events back.
        let stream = Response::new(200, EVENTS, "").with("X-Accel-Buffering: no");
        let mut bytes = stream.head("");
        bytes.extend(b"retry: 3000\n\n");
        bytes
    }

    fn head(&self, length: &str) -> Vec<u8> {
        let sources = match &self.nonce {
            Some(nonce) => format!(
                "; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; form-action 'self'"
            ),
            None => String::new(),
        };
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\n{length}\
             Content-Security-Policy: default-src 'none'; base-uri 'none'; frame-ancestors 'none'{sources}\r\n\
             {ALWAYS}{}\r\n",
            self.status,
            reason(self.status),
            self.kind,
            self.more,
        )
        .into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
