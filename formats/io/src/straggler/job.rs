//! The description of the job beside a table: `name: value` lines of YAML.
//!
//! Such a file is a flat mapping of names to numbers and a word. These lines are read here, and every other line is
//! counted, rather than carrying a YAML parser with anchors, tags and nesting for eight of them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gapless_trace::{ArgValue, Args};

/// Bytes of a description.
const MOST_BYTES: u64 = 64 << 10;

/// What a description says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Job {
    /// Its path, for messages.
    pub path: String,
    /// All names and values, in order.
    pub fields: Args,
    /// Lines of another form.
    pub unreadable_lines: u64,
}

impl Job {
    /// Reads the lines of `text`.
    pub fn parse(text: &str) -> Self {
        let mut job = Self::default();
        for line in text.lines() {
            let line = line.trim_end();
            let is_empty = line.is_empty() || line.starts_with('#') || line == "---" || line == "...";
            match field(line) {
                _ if is_empty => {}
                Some(field) => job.fields.push(field),
                None => job.unreadable_lines += 1,
            }
        }
        job
    }

    /// Whether this is a description of a job, every line of which could be read.
    pub fn is_whole(&self) -> bool {
        self.unreadable_lines == 0 && self.world_size().is_some()
    }

    /// Ranks in the job.
    pub fn world_size(&self) -> Option<u32> {
        self.size("world_size")
    }

    /// A size that is given, at least 1.
    pub fn size(&self, name: &str) -> Option<u32> {
        let value = &self.fields.iter().rev().find(|field| field.0 == name)?.1;
        u32::try_from(value.as_i64()?).ok().filter(|&size| size > 0)
    }
}

/// `name: value`, with a comment perhaps.
fn field(line: &str) -> Option<(String, ArgValue)> {
    let (name, value) = line.split_once(':')?;
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name(name) || !value.starts_with([' ', '\t']) {
        return None;
    }
    let value = value.trim();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => {
            let (text, rest) = value.strip_prefix(quote)?.split_once(quote)?;
            let is_plain = !text.contains('\\') && (rest.trim().is_empty() || rest.trim_start().starts_with('#'));
            return is_plain.then(|| (name.to_owned(), ArgValue::Text(text.to_owned())));
        }
        // Lists, mappings, anchors, tags and blocks of text.
        '[' | '{' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' => return None,
        _ => value.split_once(" #").map_or(value, |(value, _)| value.trim_end()),
    };
    let value = match value.parse::<i64>() {
        Ok(number) => ArgValue::Int(number),
        Err(_) => ArgValue::Text(value.to_owned()),
    };
    Some((name.to_owned(), value))
}

/// The path whose file name is `prefix` and `suffix` around the same middle as `old_prefix` and `old_suffix`.
fn sibling(path: &Path, old: (&str, &[&str]), new: (&str, &str)) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix(old.0)?;
    let middle = old.1.iter().find_map(|suffix| rest.strip_suffix(suffix))?;
    Some(path.with_file_name(format!("{}{middle}{}", new.0, new.1)))
}

/// The table that the description at `path` belongs to, by its name.
pub(super) fn table_beside(path: &Path) -> Option<PathBuf> {
    sibling(path, ("meta-", &[".yaml", ".yml"]), ("trace-", ".parquet"))
}

/// Reads the description beside the table at `path`; why not, where there is none.
pub(super) fn read_beside(path: &Path) -> Result<Job, String> {
    let Some(beside) = sibling(path, ("trace-", &[".parquet"]), ("meta-", ".yaml")) else {
        return Err("a description of the job (the table's name is not trace-X.parquet)".to_owned());
    };
    let name = beside.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let unreadable = |reason: &str| format!("{name}: {reason}");
    // Only a regular file: opening a pipe would wait.
    let metadata = std::fs::metadata(&beside).map_err(|_| name.clone())?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(unreadable("it is no small file"));
    }
    let mut text = String::new();
    let read = File::open(&beside).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    read.map_err(|error| unreadable(&error.to_string()))?;
    Ok(Job { path: name, ..Job::parse(&text) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_names_and_values_are_read() {
        let job = Job::parse("---\n# a job\ntrial_name: AR\nrun_id: 0\nworld_size: 64   # ranks\nnote: 'a: b'\n\n");
        assert_eq!(job.unreadable_lines, 0);
        assert_eq!(job.world_size(), Some(64));
        let field = |name: &str| job.fields.iter().find(|field| field.0 == name).unwrap().1.clone();
        assert_eq!(field("trial_name"), ArgValue::Text("AR".to_owned()));
        assert_eq!(field("run_id"), ArgValue::Int(0));
        assert_eq!(field("note"), ArgValue::Text("a: b".to_owned()));
        assert!(job.is_whole());
    }

    #[test]
    fn other_yaml_is_counted_and_never_guessed() {
        let text =
            "a: &x 1\nb: *x\nc: [1, 2]\nd:\n  e: 1\n- f\ng: !!python/object:os.system x\nh: |\n  text\nworld_size: 0\n";
        let job = Job::parse(text);
        assert_eq!(job.unreadable_lines, 9);
        assert_eq!(job.world_size(), None);
        assert!(!job.is_whole());
        assert!(!Job::parse("key: value").is_whole());
    }

    #[test]
    fn only_the_file_of_the_same_name_belongs_to_a_table() {
        let beside = |path: &str| table_beside(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(beside("a/meta-X.yaml").as_deref(), Some("a/trace-X.parquet"));
        assert_eq!(beside("meta-X.yml").as_deref(), Some("trace-X.parquet"));
        assert_eq!(beside("meta.yaml"), None);
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("trace-A.parquet");
        assert_eq!(read_beside(&table), Err("meta-A.yaml".to_owned()));
        assert!(read_beside(&folder.path().join("other.parquet")).unwrap_err().contains("trace-X.parquet"));
        std::fs::create_dir(folder.path().join("meta-A.yaml")).unwrap();
        assert_eq!(read_beside(&table), Err("meta-A.yaml: it is no small file".to_owned()));
        std::fs::remove_dir(folder.path().join("meta-A.yaml")).unwrap();
        std::fs::write(folder.path().join("meta-A.yaml"), vec![b'a'; 65 << 10]).unwrap();
        assert_eq!(read_beside(&table), Err("meta-A.yaml: it is no small file".to_owned()));
        std::fs::write(folder.path().join("meta-A.yaml"), "world_size: 8\n").unwrap();
        assert_eq!(read_beside(&table).unwrap().world_size(), Some(8));
    }
}
