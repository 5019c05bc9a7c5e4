//! What compiling a function takes beside its bytes: values that meet.
//!
//! Where control flow joins (at the head of a loop, behind a block), the compiler keeps a value for each local that was
//! written on the way there, and hands it over at each branch. A few kilobytes of nested loops over many locals come to
//! millions of such values, a kilobyte of memory and microseconds of time each.

use std::collections::HashSet;

use wasmparser::{BinaryReaderError, BlockType, FunctionBody, Operator};

/// Branches to one place that cost as much as a value that meets there: handing it over is cheap beside keeping it.
const BRANCHES_PER_VALUE: usize = 8;

/// What control flow within a block or loop comes to.
#[derive(Default)]
struct Frame {
    /// The locals that are written within it.
    written: HashSet<u32>,
    /// Branches to it.
    branches: usize,
    /// Values that its type takes and gives.
    arity: usize,
    /// What it is.
    kind: Kind,
    /// Whether control came to its beginning.
    entered: bool,
}

#[derive(Clone, Copy, Default)]
enum Kind {
    /// Control joins at its end, where it comes there more than one way.
    #[default]
    Block,
    /// Control joins at its beginning, where something branches to it.
    Loop,
    /// Control joins at its end.
    If,
}

impl Frame {
    fn new(kind: Kind, blockty: BlockType, arities: &[usize], entered: bool) -> Self {
        let arity = match blockty {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(at) => arities.get(at as usize).copied().unwrap_or_default(),
        };
        Self { arity, kind, entered, ..Self::default() }
    }

    /// Whether control joins there; `falls` is whether it falls through the end.
    fn joins(&self, falls: bool) -> bool {
        match self.kind {
            Kind::Block => self.branches + usize::from(falls) > 1,
            Kind::Loop => self.branches > 0,
            Kind::If => true,
        }
    }

    /// Whether control goes on behind the end.
    fn goes_on(&self, falls: bool) -> bool {
        match self.kind {
            Kind::Block => falls || self.branches > 0,
            Kind::Loop => falls,
            Kind::If => self.entered,
        }
    }
}

/// What compiling one function takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Joins {
    /// Values that meet, and operands of calls.
    pub values: usize,
    /// The same, each value as often as there are loops around it: the compiler looks at it anew for each.
    pub nested: usize,
    /// Locals that are used, times places where control flow joins: values that are looked for, and mostly not needed.
    pub looks: usize,
}

impl Joins {
    /// Of a function in a module whose function types take and give so many values.
    pub(super) fn of(body: &FunctionBody<'_>, arities: &[usize]) -> Result<Self, BinaryReaderError> {
        let mut frames = vec![Frame { entered: true, ..Frame::default() }];
        // Code that control doesn't come to isn't compiled.
        let mut live = true;
        let mut used = HashSet::new();
        let (mut values, mut nested, mut places, mut calls) = (0_usize, 0_usize, 1_usize, 0_usize);
        let mut depth = 1_usize;
        let branch = |frames: &mut Vec<Frame>, depth: u32| {
            let at = frames.len().checked_sub(1 + depth as usize);
            if let Some(frame) = at.and_then(|at| frames.get_mut(at)) {
                frame.branches += 1;
            }
        };
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Block { blockty } => frames.push(Frame::new(Kind::Block, blockty, arities, live)),
                Operator::Loop { blockty } => {
                    depth += 1;
                    frames.push(Frame::new(Kind::Loop, blockty, arities, live));
                }
                Operator::If { blockty } => frames.push(Frame::new(Kind::If, blockty, arities, live)),
                Operator::Else => live = frames.last().is_some_and(|frame| frame.entered),
                Operator::End => {
                    let Some(mut frame) = frames.pop() else { break };
                    if frame.joins(live) {
                        let meeting = frame.written.len() + frame.arity;
                        let meeting = meeting + meeting * frame.branches / BRANCHES_PER_VALUE;
                        values = values.saturating_add(meeting);
                        nested = nested.saturating_add(meeting.saturating_mul(depth));
                        places += 1 + frame.branches;
                    }
                    depth -= usize::from(matches!(frame.kind, Kind::Loop));
                    live = frame.goes_on(live);
                    if let Some(around) = frames.last_mut() {
                        // The smaller into the larger, so that depth doesn't multiply what this costs.
                        if around.written.len() < frame.written.len() {
                            std::mem::swap(&mut around.written, &mut frame.written);
                        }
                        around.written.extend(frame.written);
                    }
                }
                Operator::Unreachable | Operator::Return => live = false,
                _ if !live => {}
                Operator::Br { relative_depth } => {
                    branch(&mut frames, relative_depth);
                    live = false;
                }
                Operator::BrIf { relative_depth } => branch(&mut frames, relative_depth),
                Operator::BrTable { targets } => {
                    for depth in targets.targets() {
                        branch(&mut frames, depth?);
                    }
                    branch(&mut frames, targets.default());
                    live = false;
                }
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                    used.insert(local_index);
                    if let Some(frame) = frames.last_mut() {
                        frame.written.insert(local_index);
                    }
                }
                Operator::LocalGet { local_index } => drop(used.insert(local_index)),
                Operator::Call { .. } | Operator::CallIndirect { .. } => calls += 1,
                _ => {}
            }
        }
        let operands = calls.saturating_mul(arities.iter().copied().max().unwrap_or_default());
        let operands = operands / BRANCHES_PER_VALUE;
        Ok(Self {
            values: values.saturating_add(operands),
            nested: nested.saturating_add(operands),
            looks: places.saturating_mul(used.len()),
        })
    }
}
