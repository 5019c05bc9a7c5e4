//! What a component is made of, checked before it is compiled.
//!
//! Compiling can't be interrupted, so what it costs is bounded here, by what a component of few bytes can make of it.

use wasmparser::{
    BinaryReaderError, ComponentInstance, ComponentInstanceSectionReader, CompositeInnerType, Encoding,
    FunctionBody, Instance, InstanceSectionReader, Parser, Payload, TypeSectionReader,
};

use super::joins::Joins;
use super::load::LoadError;
use crate::limits::{
    COMPONENT_BYTES_MAX, COMPONENT_FUNCTIONS_MAX, COMPONENT_INSTANCES_MAX, COMPONENT_JOINS_MAX,
    COMPONENT_MODULES_MAX, FUNCTION_BYTES_MAX, FUNCTION_JOINS_MAX, FUNCTION_LOOKS_MAX,
    FUNCTION_NESTED_JOINS_MAX,
};

/// What was counted so far.
#[derive(Default)]
struct Counts {
    modules: usize,
    functions: usize,
    joins: usize,
    /// The modules and components that are open, the innermost last.
    open: Vec<Open>,
    /// Most instances that a component which is complete comes to.
    instances_max: usize,
}

/// A module or a component whose end hasn't come.
#[derive(Default)]
struct Open {
    /// Of a module, how many values each type of a function takes and gives.
    arities: Vec<usize>,
    /// Of a component, how many instances one of it comes to.
    instances: usize,
}

/// Checks that these bytes are a component of bounded size and structure, and that compiling it takes bounded time and
/// memory. It reads everything once, which costs little beside compiling.
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
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        counts.take(payload.map_err(broken)?)?;
    }
    Ok(())
}

fn broken(error: BinaryReaderError) -> LoadError {
    LoadError::Compile(error.into())
}

fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), LoadError> {
    if count > max { Err(LoadError::Structure { what, max }) } else { Ok(()) }
}

impl Counts {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::Version { encoding: Encoding::Module | Encoding::Component, .. } => {
                self.open.push(Open::default());
                self.modules += 1;
                bounded("modules and components", self.modules, COMPONENT_MODULES_MAX)
            }
            Payload::End(_) => {
                let instances = self.open.pop().map_or(0, |open| open.instances);
                self.instances_max = self.instances_max.max(instances);
                Ok(())
            }
            Payload::CodeSectionStart { count, .. } => {
                self.functions += count as usize;
                bounded("functions", self.functions, COMPONENT_FUNCTIONS_MAX)
            }
            Payload::TypeSection(types) => self.take_types(types).map_err(broken),
            Payload::CodeSectionEntry(body) => self.take_function(&body),
            Payload::InstanceSection(instances) => self.take_core_instances(instances),
            Payload::ComponentInstanceSection(instances) => self.take_instances(instances),
            _ => Ok(()),
        }
    }

    fn take_types(&mut self, types: TypeSectionReader<'_>) -> Result<(), BinaryReaderError> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        for group in types {
            for kind in group?.into_types() {
                open.arities.push(match kind.composite_type.inner {
                    CompositeInnerType::Func(kind) => kind.params().len() + kind.results().len(),
                    _ => 0,
                });
            }
        }
        Ok(())
    }

    fn take_function(&mut self, body: &FunctionBody<'_>) -> Result<(), LoadError> {
        bounded("bytes in a function", body.range().len(), FUNCTION_BYTES_MAX)?;
        let arities = self.open.last().map_or(&[][..], |open| &open.arities);
        let Joins { values, nested, looks } = Joins::of(body, arities).map_err(broken)?;
        bounded("values that meet in a function", values, FUNCTION_JOINS_MAX)?;
        bounded("values that meet in the loops of a function", nested, FUNCTION_NESTED_JOINS_MAX)?;
        bounded("locals times branches in a function", looks, FUNCTION_LOOKS_MAX)?;
        self.joins += nested;
        bounded("values that meet in the loops of its functions", self.joins, COMPONENT_JOINS_MAX)
    }

    fn take_core_instances(&mut self, instances: InstanceSectionReader<'_>) -> Result<(), LoadError> {
        for instance in instances {
            if let Instance::Instantiate { .. } = instance.map_err(broken)? {
                self.instantiated(1)?;
            }
        }
        Ok(())
    }

    /// A component that is instantiated brings the instances within it along, which double with each level that
    /// instantiates the one below twice. Each is taken for the largest that is complete, so that none is too few.
    fn take_instances(&mut self, instances: ComponentInstanceSectionReader<'_>) -> Result<(), LoadError> {
        for instance in instances {
            if let ComponentInstance::Instantiate { .. } = instance.map_err(broken)? {
                self.instantiated(1 + self.instances_max)?;
            }
        }
        Ok(())
    }

    fn instantiated(&mut self, count: usize) -> Result<(), LoadError> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        open.instances = open.instances.saturating_add(count);
        bounded("instances", open.instances, COMPONENT_INSTANCES_MAX)
    }
}
