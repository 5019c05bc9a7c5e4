/// Makes an [`Upcaster`](crate::Upcaster) the plugin that this crate builds. Once in a crate of type `cdylib`; does nothing in
/// a native build, so that the upcaster's tests run natively.
///
/// The plugin's version is that of the crate, unless another is given: `export_upcaster!(Orders, version = "0.2.0")`.
#[macro_export]
macro_rules! export_upcaster {
    ($upcaster:ty) => {
        $crate::export_upcaster!($upcaster, version = env!("CARGO_PKG_VERSION"));
    };
    ($upcaster:ty, version = $version:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            struct Plugin;

            impl $crate::upcaster_wasm::DescribeGuest for Plugin {
                fn describe() -> $crate::upcaster_wasm::Description {
                    $crate::upcaster_wasm::describe::<$upcaster>($version)
                }
            }

            impl $crate::upcaster_wasm::LifterGuest for Plugin {
                fn steps() -> Result<Vec<$crate::upcaster_wasm::Step>, $crate::upcaster_wasm::GuestRefusal> {
                    $crate::upcaster_wasm::steps::<$upcaster>()
                }

                fn lift(
                    event: $crate::upcaster_wasm::GuestEvent,
                ) -> Result<$crate::upcaster_wasm::GuestLifted, $crate::upcaster_wasm::GuestRefusal> {
                    $crate::upcaster_wasm::lift::<$upcaster>(event)
                }
            }

    $crate::upcaster_bindings::export_upcaster!(Plugin with_types_in $crate::upcaster_bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> (&'static str, &'static str) = || ($version, <$upcaster as $crate::Upcaster>::NAME);
    };
}
