//! From the text of a `.proto` to its first message.

use std::panic;

use protox::file::{File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::MessageDescriptor;
use protox::prost_reflect::prost_types::FileDescriptorProto;
use protox::{Compiler, Error};

use super::{bounds, brackets, kinds};
use crate::limits::VIOLATION_CHARS_MAX;
use crate::schema::{SchemaError, cut};

/// The name that the text goes by while it is compiled.
const NAME: &str = "schema.proto";

/// The number of a file's imports in its descriptor, by which their places are kept.
const DEPENDENCY: i32 = 3;

/// Compiles a text. Returns its first message, with all that it refers to.
pub(super) fn compile(text: &str) -> Result<MessageDescriptor, SchemaError> {
    brackets::check(text)?;
    // The compiler isn't ours, and has assertions that a text from outside can fail. The one that is known is there in debug builds
    // alone: no check here could tell what else it asserts.
    let compiled = panic::catch_unwind(|| compile_bounded(text));
    compiled.unwrap_or_else(|_| {
        let reason = "the compiler gave up on it with a panic, which is a fault of the compiler".to_owned();
        Err(SchemaError::NotProtobuf { place: None, reason })
    })
}

fn compile_bounded(text: &str) -> Result<MessageDescriptor, SchemaError> {
    let file = File::from_source(NAME, text).map_err(|error| refusal(&error))?;
    let whole = |reason| SchemaError::NotProtobuf { place: None, reason };
    bounds::check(file.file_descriptor_proto()).map_err(whole)?;
    check_imports(file.file_descriptor_proto())?;
    let mut compiler = Compiler::with_file_resolver(Files { file });
    compiler.open_file(NAME).map_err(|error| refusal(&error))?;
    let file = compiler.descriptor_pool().get_file_by_name(NAME);
    let message = file.and_then(|file| file.messages().next());
    message.ok_or_else(|| whole("it has no message: the first one is what events carry".to_owned()))
}

/// The text, and Google's own files.
struct Files {
    file: File,
}

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == NAME { Ok(self.file.clone()) } else { GoogleFileResolver::new().open_file(name) }
    }
}

fn check_imports(file: &FileDescriptorProto) -> Result<(), SchemaError> {
    let google = GoogleFileResolver::new();
    let mut imports = (0..).zip(&file.dependency);
    let Some((index, import)) = imports.find(|(_, import)| google.open_file(import).is_err()) else {
        return Ok(());
    };
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let place = locations.filter(|location| location.path == [DEPENDENCY, index]).find_map(|location| {
        let place = |at: usize| usize::try_from(*location.span.get(at)?).ok();
        Some((place(0)? + 1, place(1)? + 1))
    });
    let name = kinds::shown(import);
    let reason = format!(
        "it imports {name}: a schema is one text, which imports nothing but Google's own files, such as \
         `google/protobuf/timestamp.proto`; put into it what it needs"
    );
    Err(SchemaError::NotProtobuf { place, reason })
}

/// What the compiler says, with its place. It writes that in front of its words, as `file:line:column: words`.
fn refusal(error: &Error) -> SchemaError {
    let words = cut(&error.to_string(), VIOLATION_CHARS_MAX);
    let told = format!("{error:?}");
    let place = told.strip_prefix(NAME).and_then(|rest| {
        let mut numbers = rest.strip_prefix(':')?.splitn(3, ':');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    });
    let hint = if words.contains("found 'edition'") {
        "; editions aren't read: say `syntax = \"proto3\"` or `proto2`"
    } else {
        ""
    };
    SchemaError::NotProtobuf { place, reason: format!("{words}{hint}") }
}
