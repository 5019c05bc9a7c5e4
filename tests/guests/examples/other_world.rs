//! A component of a world that has nothing to do with the contract.

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod exports {
    use tidegate_guests::bindings::other_world::{self, Guest};

    struct OtherWorld;

    impl Guest for OtherWorld {
        fn greet(name: String) -> String {
            format!("hello, {name}")
        }
    }

    other_world::export_other_world!(OtherWorld with_types_in other_world);
}
