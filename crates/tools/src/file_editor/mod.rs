//! Looks at and changes files (contract: agent §5.4).

mod edit;
mod history;
mod text;
mod view;

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    sync::Mutex,
};

use async_trait::async_trait;
use longshore_protocol::{
    Action, Content, Observation,
    action::{EditorCommand, FileEditorAction},
    observation::FileEditorObservation,
    tool::{ToolAnnotations, ToolDefinition, ToolSchema},
};
use longshore_workspace::{FileKind, Metadata, Parents, Workspace};
use serde_json::json;

use self::{edit::Edited, history::History, text::Text};
use crate::{Call, Context, Error, Tool, files, schema};

const DESCRIPTION: &str = "Views, creates and edits text files, by absolute path; state is kept between calls.\n\
    - view: a file with line numbers, an image, or a folder two levels deep.\n\
    - create: a new file; fails if there is one.\n\
    - str_replace: puts new_str in the place of old_str, which must match exactly one place in the file, white space \
    included: take in enough lines to be unique.\n\
    - insert: puts new_str after line insert_line.\n\
    - undo_edit: takes back the last edit of the file.\n\
    Long output is cut and marked.";

/// Files larger than this are neither shown nor edited.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;

/// The tool.
#[derive(Debug)]
pub(crate) struct FileEditor {
    context: Context,
    history: Mutex<History>,
}

/// Why the tool did not do it; the model reads this as the observation.
#[derive(Debug)]
struct Refusal(String);

impl Refusal {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    fn parameter(name: &str, value: &str, why: &str) -> Self {
        Self(format!("Invalid `{name}` parameter: {value}. {why}"))
    }

    fn missing(name: &str, command: EditorCommand) -> Self {
        Self(format!("Parameter `{name}` is required for command: {}.", command.as_str()))
    }

    fn file(path: &Path, error: impl fmt::Display) -> Self {
        Self(format!("File validation failed for {}: {error}.", path.display()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FileEditor {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, history: Mutex::default() }
    }

    async fn perform(&self, action: &FileEditorAction) -> Result<FileEditorObservation, Refusal> {
        let path = self.absolute(&action.path).await?;
        let there = match self.workspace().metadata(&path).await {
            Ok(metadata) => Some(metadata),
            Err(longshore_workspace::Error::NotFound { .. }) => None,
            Err(error) => return Err(Refusal::parameter("path", &action.path, &format!("{error}."))),
        };
        let Some(there) = there else {
            if action.command == EditorCommand::Create {
                return self.create(&path, action).await;
            }
            return Err(Refusal::parameter("path", &action.path, "There is no such file or folder."));
        };
        let is_folder = there.kind == FileKind::Directory;
        match action.command {
            EditorCommand::View => self.view(&path, there, action.view_range.as_deref()).await,
            EditorCommand::Create => Err(Refusal::parameter(
                "path",
                &action.path,
                "It already exists and create does not overwrite. Use str_replace or insert to change the file.",
            )),
            _ if is_folder => {
                Err(Refusal::parameter("path", &action.path, "It is a folder, which can only be viewed."))
            }
            EditorCommand::StrReplace => self.replace(&path, action).await,
            EditorCommand::Insert => self.insert(&path, action).await,
            EditorCommand::UndoEdit => self.undo(&path).await,
        }
    }

    async fn absolute(&self, path: &str) -> Result<PathBuf, Refusal> {
        if Path::new(path).is_absolute() {
            return Ok(normalized(path));
        }
        let guess = self.workspace().working_dir().join(path);
        let hint = match self.workspace().metadata(&guess).await {
            Ok(_) => format!(" Maybe you meant {}?", guess.display()),
            Err(_) => String::new(),
        };
        Err(Refusal::parameter("path", path, &format!("The path should be an absolute path.{hint}")))
    }

    async fn view(
        &self,
        path: &Path,
        there: Metadata,
        range: Option<&[i64]>,
    ) -> Result<FileEditorObservation, Refusal> {
        let content = if there.kind == FileKind::Directory {
            if range.is_some_and(|range| !range.is_empty()) {
                let range = format!("{range:?}");
                return Err(Refusal::parameter("view_range", &range, "A folder has no lines: leave view_range out."));
            }
            view::folder(self.workspace(), path).await?
        } else if let Some(media_type) = view::image_type(path) {
            view::image(self.workspace(), path, media_type, MAX_FILE_BYTES).await?
        } else {
            let (text, _) = self.read(path).await?;
            vec![Content::text(view::text(path, &text.text, range)?)]
        };
        Ok(observation(EditorCommand::View, path, content))
    }

    async fn create(&self, path: &Path, action: &FileEditorAction) -> Result<FileEditorObservation, Refusal> {
        let text = action.file_text.as_deref().ok_or_else(|| Refusal::missing("file_text", action.command))?;
        self.write(path, text.as_bytes()).await?;
        let content = vec![Content::text(format!("File created successfully at: {}", path.display()))];
        let mut done = observation(action.command, path, content);
        done.prev_exist = false;
        done.new_content = Some(text.to_owned());
        Ok(done)
    }

    async fn replace(&self, path: &Path, action: &FileEditorAction) -> Result<FileEditorObservation, Refusal> {
        let old = action.old_str.as_deref().ok_or_else(|| Refusal::missing("old_str", action.command))?;
        // Models leave `new_str` out to delete.
        let new = action.new_str.as_deref().unwrap_or("");
        if old == new {
            return Err(Refusal::new("No replacement was performed: `old_str` and `new_str` are the same."));
        }
        let (before, bytes) = self.read(path).await?;
        let edited = edit::replace(&before.text, before.line_end(), old, new)?;
        self.save(path, action.command, before, bytes, edited).await
    }

    async fn insert(&self, path: &Path, action: &FileEditorAction) -> Result<FileEditorObservation, Refusal> {
        let after = action.insert_line.ok_or_else(|| Refusal::missing("insert_line", action.command))?;
        let new = action.new_str.as_deref().ok_or_else(|| Refusal::missing("new_str", action.command))?;
        let (before, bytes) = self.read(path).await?;
        let edited = edit::insert(&before.text, before.line_end(), after, new)?;
        self.save(path, action.command, before, bytes, edited).await
    }

    async fn undo(&self, path: &Path) -> Result<FileEditorObservation, Refusal> {
        let Some(earlier) = self.history(|history| history.last(path)) else {
            return Err(Refusal::new(format!("No edit of {} can be taken back.", path.display())));
        };
        let (current, _) = self.read(path).await?;
        let restored = Text::decode(&earlier).map_err(|why| Refusal::file(path, why))?;
        self.write(path, &earlier).await?;
        self.history(|history| history.pop(path));
        let shown = view::text(path, &restored.text, None)?;
        let content = vec![Content::text(format!("The last edit of {} was taken back. {shown}", path.display()))];
        let mut done = observation(EditorCommand::UndoEdit, path, content);
        done.old_content = Some(current.text);
        done.new_content = Some(restored.text);
        Ok(done)
    }

    async fn read(&self, path: &Path) -> Result<(Text, Vec<u8>), Refusal> {
        let bytes = files::read(self.workspace(), path, MAX_FILE_BYTES).await.map_err(|error| match error {
            files::ReadError::TooLarge { .. } => {
                Refusal::file(path, "it is larger than 10 MB; use the terminal to look at parts of it")
            }
            error => Refusal::file(path, error),
        })?;
        let text = Text::decode(&bytes).map_err(|why| Refusal::file(path, why))?;
        Ok((text, bytes))
    }

    /// Writes an edited text and shows the lines around the edit.
    async fn save(
        &self,
        path: &Path,
        command: EditorCommand,
        before: Text,
        bytes: Vec<u8>,
        edited: Edited,
    ) -> Result<FileEditorObservation, Refusal> {
        if !before.is_faithful() {
            let why = format!("it cannot be edited without damage to other parts of its {} text", before.encoding());
            return Err(Refusal::file(path, why));
        }
        let encoded = before.encode(&edited.text);
        self.write(path, &encoded.bytes).await?;
        self.history(|history| history.push(path, bytes));
        let snippet =
            view::numbered(&format!("a snippet of {}", path.display()), &edited.text, edited.first, edited.last);
        let note = match encoded.given_up {
            Some(name) => format!("NOTE: {name} lacks characters of the new text, so the file is UTF-8 now.\n"),
            None => String::new(),
        };
        let text = format!("The file {} has been edited. {snippet}{note}", path.display());
        let mut done = observation(command, path, vec![Content::text(text)]);
        done.old_content = Some(before.text);
        done.new_content = Some(edited.text);
        Ok(done)
    }

    async fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Refusal::file(path, "it would be larger than 10 MB; use the terminal"));
        }
        let written = async {
            let mut writer = self.workspace().write(path, Parents::Required).await?;
            writer.write(bytes).await?;
            writer.finish().await
        };
        written.await.map_err(|error| Refusal::new(format!("{} could not be written: {error}.", path.display())))
    }

    fn workspace(&self) -> &dyn Workspace {
        &*self.context.workspace
    }

    fn history<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        // A panic elsewhere cannot leave a history half changed.
        work(&mut self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

fn observation(command: EditorCommand, path: &Path, content: Vec<Content>) -> FileEditorObservation {
    FileEditorObservation {
        content,
        is_error: false,
        command,
        path: Some(path.display().to_string()),
        prev_exist: true,
        old_content: None,
        new_content: None,
    }
}

/// An absolute path without `.` and doubled slashes, so that one file has one key.
fn normalized(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

#[async_trait]
impl Tool for FileEditor {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            description: DESCRIPTION.to_owned(),
            action_type: "FileEditorAction".to_owned(),
            observation_type: Some("FileEditorObservation".to_owned()),
            annotations: Some(ToolAnnotations {
                title: Some("file_editor".to_owned()),
                read_only: false,
                destructive: true,
                idempotent: false,
                open_world: false,
            }),
            client_tool_name: None,
            input_schema: None,
            kind: "FileEditorTool".to_owned(),
            title: "file_editor".to_owned(),
        }
    }

    fn schema(&self) -> ToolSchema {
        schema::tool(
            "file_editor",
            DESCRIPTION,
            json!({
                "type": "object",
                "properties": {
                    "command": {
                        "type": "string",
                        "enum": ["view", "create", "str_replace", "insert", "undo_edit"],
                        "description": "What to do.",
                    },
                    "path": {"type": "string", "description": "Absolute path of the file or folder."},
                    "file_text": {"type": "string", "description": "create: the content."},
                    "old_str": {"type": "string", "description": "str_replace: the text to replace."},
                    "new_str": {"type": "string", "description": "str_replace, insert: the new text."},
                    "insert_line": {
                        "type": "integer",
                        "description": "insert: the line to insert after; 0 for the start.",
                    },
                    "view_range": {
                        "type": "array",
                        "items": {"type": "integer"},
                        "description": "view: first and last line, from 1; [20, -1] is from line 20 to the end.",
                    },
                },
                "required": ["command", "path"],
            }),
        )
    }

    /// The file, for views too: the model expects to see what an edit before in the same turn did.
    fn resource(&self, action: &Action) -> Option<String> {
        match action {
            Action::FileEditorAction(action) => Some(format!("file:{}", normalized(&action.path).display())),
            _ => None,
        }
    }

    async fn run(&self, action: Action, _call: Call) -> Result<Observation, Error> {
        let Action::FileEditorAction(action) = action else {
            return Err(schema::wrong_action("file_editor", &action));
        };
        let done = self.perform(&action).await.unwrap_or_else(|refusal| FileEditorObservation {
            content: vec![Content::text(refusal.0)],
            is_error: true,
            command: action.command,
            path: None,
            prev_exist: true,
            old_content: None,
            new_content: None,
        });
        Ok(done.into())
    }
}
