//! Settings of PHP's command line with which jobs cannot run: functions and classes
//! that are disabled, folders that are closed, a file that ends every program. Ini
//! files are read here, because PHP does not tell which of them sets what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::files::Node;
use crate::host::users::User;

/// The functions and classes that jobs cannot do without, by who needs them. Whatever
/// else our PHP uses, it uses only where PHP has it; a test compares the templates
/// with this table.
pub const NEEDS: [Need; 6] = [
    Need {
        by: "WordPress",
        functions: "array_map date_default_timezone_set error_reporting file_get_contents glob
            ini_get is_callable opendir readdir set_error_handler spl_autoload_register",
        classes: "",
    },
    Need {
        by: "WordPress's database",
        functions: "mysqli_connect mysqli_init mysqli_real_connect",
        classes: "mysqli",
    },
    Need {
        by: "submitting jobs",
        functions: "array_diff array_intersect_key file file_exists fileowner fread get_parent_class hexdec is_dir
            ksort md5 pack preg_split spl_autoload_functions stream_set_blocking strrpos substr_count",
        classes: "GearmanClient",
    },
    Need {
        by: "the format of jobs",
        functions: "json_decode json_encode",
        classes: "",
    },
    Need {
        by: "the workers' pipe to PHP",
        functions: "fgets fopen fwrite fclose stream_get_contents stream_set_read_buffer
            stream_set_timeout",
        classes: "",
    },
    Need {
        by: "the workers' runner",
        functions: "array_count_values array_diff_key array_filter array_flip
            array_intersect array_key_exists array_keys array_merge array_slice array_values
            base64_decode base64_encode basename bin2hex call_user_func ceil chdir class_exists clearstatcache constant count
            debug_backtrace define defined dirname end error_get_last error_log explode
            extension_loaded file_put_contents function_exists get_class
            get_declared_classes get_included_files get_object_vars hash hash_hmac hex2bin http_response_code
            implode in_array is_array is_file is_float is_int is_null is_object is_string
            max memory_get_usage method_exists microtime min ob_end_flush ob_get_level octdec parse_url
            php_ini_loaded_file php_ini_scanned_files preg_match preg_replace
            property_exists random_bytes realpath register_shutdown_function rename round
            rtrim session_status session_write_close set_exception_handler stat str_replace
            strip_tags stripos strlen strpos strtolower substr time trim unlink usleep",
        classes: "ReflectionClass ReflectionMethod ReflectionObject ReflectionProperty SplObjectStorage",
    },
];

pub struct Need {
    /// Who needs them.
    pub by: &'static str,
    pub functions: &'static str,
    pub classes: &'static str,
}

/// The smallest memory limit with which WordPress comes to the point where it raises
/// the limit, in bytes.
const LEAST_MEMORY: u64 = 4 << 20;
/// PHP's own default.
const USUAL_MEMORY: &str = "128M";

/// A directive, and the file that sets it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    pub value: String,
    pub file: PathBuf,
}

/// The directives of the ini files that a PHP reads, in their order.
#[derive(Debug, Default)]
pub struct IniSettings(BTreeMap<String, Directive>);

impl IniSettings {
    pub fn read(host: &Host, files: &[PathBuf]) -> Result<IniSettings> {
        let mut settings = IniSettings::default();
        for path in files {
            if let Some(file) = host.read(path)? {
                settings.add(path, &String::from_utf8_lossy(&file.bytes));
            }
        }
        Ok(settings)
    }

    fn add(&mut self, path: &Path, text: &str) {
        for line in text.lines().map(str::trim) {
            // These sections are for the web only, and the last of the file.
            if line.starts_with("[PATH=") || line.starts_with("[HOST=") {
                return;
            }
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            if line.starts_with([';', '#', '[']) {
                continue;
            }
            let directive = Directive {
                value: plain(value).to_owned(),
                file: path.to_owned(),
            };
            self.0.insert(name.trim().to_owned(), directive);
        }
    }

    /// A directive that is set, and not to nothing.
    fn get(&self, name: &str) -> Option<&Directive> {
        self.0.get(name).filter(|it| !it.value.is_empty())
    }
}

/// A value without quotes and comment.
fn plain(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some((inner, _)) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.split_once(quote))
        {
            return inner;
        }
    }
    value.split(';').next().unwrap_or_default().trim()
}

/// A setting with which jobs cannot run.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    pub why: String,
    pub help: String,
}

/// What keeps this PHP from running a site's jobs. `places` are the folders and files
/// that it has to read.
pub fn unfit(
    host: &Host,
    php: &Path,
    user: &User,
    settings: &IniSettings,
    places: &[PathBuf],
) -> Result<Vec<Unfit>> {
    let mut found = Vec::new();
    for (name, disabled) in [("disable_functions", true), ("disable_classes", false)] {
        let needs = |need: &Need| match disabled {
            true => need.functions,
            false => need.classes,
        };
        found.extend(settings.get(name).and_then(|it| disabling(name, it, needs)));
    }
    if let Some(directive) = settings.get("open_basedir") {
        found.extend(closed(directive, places, |path| real(host, path)));
    }
    found.extend(settings.get("memory_limit").and_then(small));
    if let Some(directive) = settings.get("auto_prepend_file") {
        found.extend(ended_by(host, php, user, directive)?);
    }
    Ok(found)
}

/// Needed names in a list of disabled ones.
fn disabling(
    name: &str,
    directive: &Directive,
    needs: impl Fn(&Need) -> &'static str,
) -> Option<Unfit> {
    let separators = |c: char| c == ',' || c.is_whitespace();
    let listed = directive.value.split(separators);
    let listed: Vec<&str> = listed.filter(|word| !word.is_empty()).collect();
    let needed_by = |word: &str| {
        let has = |need: &&Need| {
            needs(need)
                .split_whitespace()
                .any(|it| it.eq_ignore_ascii_case(word))
        };
        NEEDS.iter().find(has).map(|need| need.by)
    };
    let (needed, rest): (Vec<&str>, Vec<&str>) =
        listed.iter().partition(|word| needed_by(word).is_some());
    let reasons: Vec<String> = needed
        .iter()
        .filter_map(|word| Some(format!("{word} (for {})", needed_by(word)?)))
        .collect();
    let file = directive.file.display();
    (!needed.is_empty()).then(|| Unfit {
        why: format!("{name} in {file} disables {}", reasons.join(", ")),
        help: format!("set '{name} = {}' in {file}", rest.join(",")),
    })
}

/// Places that open_basedir closes.
fn closed(
    directive: &Directive,
    places: &[PathBuf],
    real: impl Fn(&Path) -> PathBuf,
) -> Option<Unfit> {
    let open: Vec<PathBuf> = directive
        .value
        .split(':')
        .filter(|entry| !entry.is_empty())
        .map(|entry| real(Path::new(entry)))
        .collect();
    let mut missing: Vec<&PathBuf> = Vec::new();
    for place in places {
        let path = real(place);
        let is_open = |folder: &PathBuf| path.starts_with(folder);
        let is_added = missing.iter().any(|added| path.starts_with(real(added)));
        if !open.iter().any(is_open) && !is_added {
            missing.push(place);
        }
    }
    let list = |separator: &str| {
        let paths = missing.iter().map(|path| path.to_string_lossy());
        paths.collect::<Vec<_>>().join(separator)
    };
    let file = directive.file.display();
    let value = directive.value.trim_end_matches(':');
    (!missing.is_empty()).then(|| Unfit {
        why: format!("open_basedir in {file} closes {} to it", list(", ")),
        help: format!("set 'open_basedir = {value}:{}' in {file}", list(":")),
    })
}

fn real(host: &Host, path: &Path) -> PathBuf {
    match host.look_through(path) {
        Ok(Node::File(meta) | Node::Directory(meta)) => meta.path,
        _ => path.to_owned(),
    }
}

/// A memory limit that is too small to begin with.
fn small(directive: &Directive) -> Option<Unfit> {
    let file = directive.file.display();
    let value = &directive.value;
    let bytes = bytes(value)?;
    (bytes < LEAST_MEMORY).then(|| Unfit {
        why: format!("memory_limit in {file} is {value}, in which WordPress does not load"),
        help: format!("set 'memory_limit = {USUAL_MEMORY}' in {file}"),
    })
}

/// A size in PHP's notation; `None` if there is no limit.
fn bytes(value: &str) -> Option<u64> {
    let (number, unit) = match value.char_indices().last()? {
        (at, unit) if unit.is_ascii_alphabetic() => (&value[..at], unit.to_ascii_lowercase()),
        _ => (value, ' '),
    };
    let shift = match unit {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        _ => 0,
    };
    number.trim().parse::<u64>().ok()?.checked_shl(shift)
}

/// Whether the file that PHP runs before every program ends it.
fn ended_by(host: &Host, php: &Path, user: &User, directive: &Directive) -> Result<Option<Unfit>> {
    const WORD: &str = "wp-gears-was-here";
    let command = Command::new(php)
        // With -r, PHP would not run that file.
        .args(["-d", "display_errors=stderr"])
        .stdin(format!("<?php echo \"\\n{WORD}\\n\";"))
        .user(user)
        .limit(Duration::from_secs(30));
    let output = host.run(&command)?;
    if output.text().lines().any(|line| line == WORD) {
        return Ok(None);
    }
    let (prepended, file) = (&directive.value, directive.file.display());
    let how = match output.success() && output.stderr.is_empty() {
        true => "calls exit()".to_owned(),
        false => format!("ends PHP with {}", explain(&output)),
    };
    Ok(Some(Unfit {
        why: format!(
            "auto_prepend_file in {file} is {prepended}, which {how} before any program runs"
        ),
        help: format!(
            "let it return on the command line ('cli' === PHP_SAPI), or set 'auto_prepend_file =' in {file}"
        ),
    }))
}

/// The error for a site.
pub fn refusal(dir: &Path, php: &Path, unfit: &[Unfit]) -> Problem {
    let all = |text: fn(&Unfit) -> &String| {
        let texts = unfit.iter().map(|it| text(it).as_str());
        texts.collect::<Vec<_>>().join("; ")
    };
    let what = format!("run jobs of {} with {}", dir.display(), php.display());
    Problem::new(what, all(|it| &it.why)).help(format!("{}, then run again", all(|it| &it.help)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> IniSettings {
        let mut settings = IniSettings::default();
        settings.add(
            Path::new("/etc/php.ini"),
            "memory_limit = 128M\ndisable_functions = exec\n",
        );
        settings.add(Path::new("/etc/conf.d/9.ini"), text);
        settings
    }

    #[test]
    fn the_last_file_decides() {
        let read = settings(
            "; memory_limit=1M\n[PHP]\n disable_functions=\"glob, exec\" ; why\nopen_basedir=\n[HOST=a]\nmemory_limit=1",
        );
        let functions = read.get("disable_functions").unwrap();
        assert_eq!(functions.value, "glob, exec");
        assert_eq!(functions.file, Path::new("/etc/conf.d/9.ini"));
        let memory = read.get("memory_limit").unwrap();
        assert_eq!(
            (&*memory.value, &*memory.file),
            ("128M", Path::new("/etc/php.ini"))
        );
        assert_eq!(read.get("open_basedir"), None);
    }

    #[test]
    fn needed_functions_are_named_with_the_value_that_would_do() {
        let read = settings("disable_functions = exec, JSON_encode,getmypid,glob");
        let directive = read.get("disable_functions").unwrap();
        let unfit = disabling("disable_functions", directive, |need| need.functions).unwrap();
        assert_eq!(
            unfit.why,
            "disable_functions in /etc/conf.d/9.ini disables JSON_encode (for the format of jobs), glob (for WordPress)"
        );
        assert_eq!(
            unfit.help,
            "set 'disable_functions = exec,getmypid' in /etc/conf.d/9.ini"
        );
        let fine = settings("disable_functions = exec,pcntl_fork");
        let fine = fine.get("disable_functions").unwrap();
        assert_eq!(
            disabling("disable_functions", fine, |need| need.functions),
            None
        );
    }

    #[test]
    fn places_that_are_closed_are_named_once() {
        let read = settings("open_basedir = /var/www:/tmp/");
        let directive = read.get("open_basedir").unwrap();
        let places = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let unfit = |paths: &[&str]| closed(directive, &places(paths), Path::to_owned);
        assert_eq!(unfit(&["/var/www/site", "/tmp"]), None);
        let unfit = unfit(&[
            "/var/www-2",
            "/var/www-2/wp-config.php",
            "/usr/local/lib/wp-gears",
        ])
        .unwrap();
        assert_eq!(
            unfit.help,
            "set 'open_basedir = /var/www:/tmp/:/var/www-2:/usr/local/lib/wp-gears' in /etc/conf.d/9.ini"
        );
    }

    #[test]
    fn sizes_are_read_as_php_does() {
        let all = ["-1", "128M", "2m", "4096K", "1G", "3000000", ""];
        let read: Vec<_> = all.iter().map(|text| bytes(text)).collect();
        let mega = |n: u64| Some(n << 20);
        assert_eq!(
            read,
            [
                None,
                mega(128),
                mega(2),
                mega(4),
                mega(1024),
                Some(3_000_000),
                None
            ]
        );
    }
}
