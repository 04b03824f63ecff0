//! Headless Chromium, driven through its debugging pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

use super::lab::{lab, wait_for};

const NAMES: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// What it complained about: errors of scripts, and violations of policies.
    pub complaints: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// `None` where there is none: tests do not download one.
    pub fn start(options: &[&str]) -> Option<Browser> {
        let path = std::env::var_os("PATH")?;
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let found = NAMES.iter().find_map(|name| {
            let all = folders.iter().map(|folder| folder.join(name));
            all.into_iter().find(|it| it.exists())
        });
        let Some(program) = found else {
            println!(
                "skipped: no Chromium is installed here ({})",
                NAMES.join(", ")
            );
            return None;
        };
        // Tests run at the same time.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile = lab().dir.join(format!("chromium-{count}"));
        let mut child = Command::new("sh")
            .arg("-c")
            .arg("program=$1 profile=$2; shift 2; exec \"$program\" --headless --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe --user-data-dir=\"$profile\" \"$@\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1")
            .arg("sh")
            .arg(program)
            .arg(profile)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        let input = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let (tell, output) = mpsc::channel();
        std::thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Browser {
            child,
            input,
            output,
            session: None,
            next: 0,
            complaints: Vec::new(),
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let id = &target["targetId"];
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": id, "flatten": true }),
        );
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.write_all(&bytes).unwrap();
        loop {
            let answer = self.output.recv_timeout(LIMIT).expect(method);
            if answer["id"] == json!(self.next) {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
            self.listen(&answer);
        }
    }

    fn listen(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                let text = params["entry"]["text"].to_string();
                // A dashboard that is away for a moment is no fault of the page.
                if !text.contains("net::ERR") {
                    self.complaints.push(text);
                }
            }
            _ => {}
        }
    }

    /// Opens a page that has this element.
    pub fn open(&mut self, url: &str, element: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.wait_for_page(element);
    }

    pub fn wait_for_page(&mut self, element: &str) {
        let is_there = format!(
            "document.readyState === 'complete' && !!document.querySelector({})",
            json!(element)
        );
        wait_for(20, "the page", || self.eval(&is_there) == json!(true));
    }

    /// What assistive technology gets of the page.
    pub fn accessibility_tree(&mut self) -> Value {
        let mut tree = self.call("Accessibility.getFullAXTree", json!({}));
        tree["nodes"].take()
    }

    pub fn eval(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true });
        let result = self.call("Runtime.evaluate", params);
        assert_eq!(result["exceptionDetails"], Value::Null, "{script}");
        result["result"]["value"].clone()
    }

    /// Waits until a script says that something is so.
    #[track_caller]
    pub fn until(&mut self, script: &str) {
        wait_for(30, script, || self.eval(script) == json!(true));
    }

    pub fn look_like(&mut self, width: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// A picture of the page, as base64 of a PNG.
    pub fn picture(&mut self, height: u32) -> String {
        let width = self.eval("innerWidth");
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let result = self.call("Page.captureScreenshot", params);
        result["data"].as_str().unwrap().to_owned()
    }
}
