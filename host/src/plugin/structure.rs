//! What a component is made of, checked before it is compiled.

use wasmparser::{Encoding, Parser, Payload};

use super::load::LoadError;
use crate::limits::{COMPONENT_BYTES_MAX, COMPONENT_FUNCTIONS_MAX, COMPONENT_MODULES_MAX};

/// Checks that these bytes are a component of bounded size and structure. It reads the borders of sections and decodes
/// nothing in them, so that it costs next to nothing beside compiling.
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::Size { bytes: bytes.len(), bytes_max: COMPONENT_BYTES_MAX });
    }
    if Parser::is_core_wasm(bytes) {
        return Err(LoadError::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(LoadError::NotWasm);
    }
    let (mut modules, mut functions) = (0_usize, 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| LoadError::Compile(error.into()))? {
            Payload::Version { encoding: Encoding::Module | Encoding::Component, .. } => modules += 1,
            Payload::CodeSectionStart { count, .. } => functions += count as usize,
            _ => {}
        }
        for (what, count, max) in [
            ("modules and components", modules, COMPONENT_MODULES_MAX),
            ("functions", functions, COMPONENT_FUNCTIONS_MAX),
        ] {
            if count > max {
                return Err(LoadError::Structure { what, max });
            }
        }
    }
    Ok(())
}
