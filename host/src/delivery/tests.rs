//! Lanes on a log whose disk lies in memory, with a clock that is moved by hand.

mod disturbed;
mod lifted;
mod rig;
mod steady;
mod timers;
