//! Reads a request, and refuses what the dashboard has no use for.

use httparse::{Error, Status};

/// The most that a request may have before its body, in bytes, and of header fields.
pub const MAX_HEAD: usize = 8 << 10;
const MAX_FIELDS: usize = 64;
/// A body is the form with the token.
pub const MAX_BODY: usize = 4 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// As it was sent, without the query. Nothing in it is decoded.
    pub path: String,
    pub host: String,
    pub authorization: Option<String>,
    pub cookies: String,
    /// A web server in front of us says that the browser came by TLS.
    pub is_secure: bool,
    pub body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// There is more to come.
    Partial,
    Complete(Request),
    /// It gets this status.
    Refused(u16),
}

/// Parses what has come so far. What comes after the first request is ignored, as every
/// connection serves one.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Parsed::Partial,
        Ok(_) | Err(Error::TooManyHeaders) => return Parsed::Refused(431),
        Err(_) => return Parsed::Refused(400),
    };
    match request(&head, &bytes[length..]) {
        Ok(Some(request)) => Parsed::Complete(request),
        Ok(None) => Parsed::Partial,
        Err(status) => Parsed::Refused(status),
    }
}

fn request(head: &httparse::Request, rest: &[u8]) -> Result<Option<Request>, u16> {
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Err(405),
    };
    let field = |name: &str| -> Result<Option<&str>, u16> {
        let mut values = head
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(one), None) => std::str::from_utf8(one.value).map(Some).map_err(|_| 400),
            // Whoever is in front of us may have read the other one.
            (Some(_), Some(_)) => Err(400),
        }
    };
    if field("transfer-encoding")?.is_some() {
        return Err(400);
    }
    let length = match field("content-length")? {
        None => 0,
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<usize>().map_err(|_| 413u16)?
        }
        Some(_) => return Err(400),
    };
    match method {
        Method::Post if length > MAX_BODY => return Err(413),
        Method::Get | Method::Head if length > 0 => return Err(400),
        _ => {}
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let target = head.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Ok(Some(Request {
        method,
        path: path.to_owned(),
        host: field("host")?.unwrap_or_default().trim().to_owned(),
        authorization: field("authorization")?.map(str::to_owned),
        cookies: field("cookie")?.unwrap_or_default().to_owned(),
        is_secure: field("x-forwarded-proto")? == Some("https"),
        body: body.to_vec(),
    }))
}

impl Request {
    /// The values of a cookie: a browser sends all that it has of a name.
    pub fn cookies_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.cookies.split(';').filter_map(|it| it.split_once('='));
        pairs
            .filter(move |(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Result<Request, u16> {
        match parse(text.as_bytes()) {
            Parsed::Complete(request) => Ok(request),
            Parsed::Partial => Err(0),
            Parsed::Refused(status) => Err(status),
        }
    }

    #[test]
    fn requests_are_read_in_parts() {
        let text =
            "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n";
        for end in 0..text.len() - 18 {
            assert_eq!(parse(&text.as_bytes()[..end]), Parsed::Partial, "{end}");
        }
        let request = status(text).unwrap();
        assert_eq!(
            (request.method, &request.body[..]),
            (Method::Post, &b"abc"[..])
        );
    }

    #[test]
    fn what_has_no_use_is_refused() {
        let of_fields = |fields: &str| status(&format!("GET / HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(of_fields("Host: a\r\n").unwrap().host, "a");
        for (fields, wanted) in [
            ("Host: a\r\nHost: b\r\n", 400),
            ("Transfer-Encoding: chunked\r\n", 400),
            ("Content-Length: 5\r\n", 400),
            ("Content-Length: -5\r\n", 400),
            ("Bad Name: x\r\n", 400),
        ] {
            assert_eq!(of_fields(fields), Err(wanted), "{fields}");
        }
        assert_eq!(of_fields(&"A: b\r\n".repeat(65)), Err(431));
        assert_eq!(of_fields(&format!("A: {}\r\n", "b".repeat(9000))), Err(431));
        assert_eq!(status(&"A".repeat(9000)), Err(431));
        assert_eq!(status("DELETE / HTTP/1.1\r\n\r\n"), Err(405));
        assert_eq!(status("GET / HTTP/3.0\r\n\r\n"), Err(400));
        assert_eq!(
            status("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
            Err(413)
        );
        assert_eq!(status("\u{16}\u{3}\u{1}"), Err(400));
    }

    #[test]
    fn the_query_is_cut_off_and_nothing_is_decoded() {
        let path = |target: &str| {
            status(&format!("GET {target} HTTP/1.1\r\n\r\n"))
                .unwrap()
                .path
        };
        assert_eq!(path("/metrics?x=/../y"), "/metrics");
        assert_eq!(path("/%2e%2e/etc"), "/%2e%2e/etc");
    }

    #[test]
    fn cookies_are_found_among_others() {
        let text = "GET / HTTP/1.1\r\nCookie: a=1; wp=2;b=3; wp=4\r\n\r\n";
        let request = status(text).unwrap();
        let found: Vec<&str> = request.cookies_named("wp").collect();
        assert_eq!(found, ["2", "4"]);
    }
}
