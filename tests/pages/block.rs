//! The fenced blocks of a page.

const MARKS: [&str; 6] = ["not run", "stays", "Ctrl-C", "once", "again while", "file"];

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    /// `README.md`.
    pub(super) page: String,
    /// Line of its fence.
    pub(super) line: usize,
    /// What stands behind the fence.
    pub(super) language: String,
    /// Its lines, without the indentation of the fence.
    pub(super) text: String,
    marks: Vec<(String, String)>,
}

impl Block {
    /// What a mark says.
    pub(super) fn mark(&self, name: &str) -> Option<&str> {
        self.marks.iter().find(|(known, _)| known == name).map(|(_, says)| says.as_str())
    }

    /// Where it stands, for people.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

/// The blocks of a page in their order; panics where one or a mark is malformed.
pub(super) fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut marks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let inside = line.trim();
        if let Some(comment) = inside.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) {
            let (name, says) = comment.trim().split_once(": ").unwrap_or((comment.trim(), ""));
            marks.push((name.to_owned(), says.to_owned()));
            continue;
        }
        let marks = std::mem::take(&mut marks);
        let Some(language) = inside.strip_prefix("```") else { continue };
        let mut block =
            Block { page: page.into(), line: at + 1, language: language.trim().into(), text: String::new(), marks };
        check_marks(&block);
        let indentation = line.len() - line.trim_start().len();
        loop {
            let (_, line) = lines.next().unwrap_or_else(|| panic!("{}: the block has no end", block.place()));
            if line.trim() == "```" {
                break;
            }
            let spaces = line.len() - line.trim_start().len();
            block.text.push_str(&line[spaces.min(indentation)..]);
            block.text.push('\n');
        }
        blocks.push(block);
    }
    blocks
}

fn check_marks(block: &Block) {
    for (name, says) in &block.marks {
        assert!(MARKS.contains(&name.as_str()), "{}: `{name}` is no mark", block.place());
        assert!(!says.trim().is_empty(), "{}: the mark `{name}` gives no reason", block.place());
    }
}
