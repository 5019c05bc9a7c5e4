/// Makes an [`Aggregate`](crate::Aggregate) the plugin that this crate builds. Once in a crate of type `cdylib`; does
/// nothing in a native build, so that the aggregate's tests run natively.
///
/// The plugin's version is that of the crate, unless another is given: `export_aggregate!(Accounts, version =
/// "0.2.0")`.
#[macro_export]
macro_rules! export_aggregate {
    ($aggregate:ty) => {
        $crate::export_aggregate!($aggregate, version = env!("CARGO_PKG_VERSION"));
    };
    ($aggregate:ty, version = $version:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::aggregate_wasm::{Description, Fact, Undecided, WireEvent, WireFailure};

            struct Plugin;

            impl $crate::aggregate_wasm::DescribeGuest for Plugin {
                fn describe() -> Description {
                    $crate::aggregate_wasm::describe::<$aggregate>($version)
                }
            }

            impl $crate::aggregate_wasm::DeciderGuest for Plugin {
                fn decide(state: Option<Vec<u8>>, command: WireEvent) -> Result<Vec<Fact>, Undecided> {
                    $crate::aggregate_wasm::decide::<$aggregate>(state, command)
                }

                fn evolve(state: Option<Vec<u8>>, events: Vec<WireEvent>) -> Result<Vec<u8>, WireFailure> {
                    $crate::aggregate_wasm::evolve::<$aggregate>(state, events)
                }
            }

            $crate::aggregate_bindings::export_aggregate!(
                Plugin with_types_in $crate::aggregate_bindings
            );
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> (&'static str, &'static str) =
            || ($version, <$aggregate as $crate::Aggregate>::NAME);
    };
}

/// Makes a [`Consumer`](crate::Consumer) the plugin that this crate builds. Once in a crate of type `cdylib`; does
/// nothing in a native build, so that the consumer's tests run natively.
///
/// The plugin's version is that of the crate, unless another is given: `export!(Alerts, version = "0.2.0")`.
#[macro_export]
macro_rules! export {
    ($consumer:ty) => {
        $crate::export!($consumer, version = env!("CARGO_PKG_VERSION"));
    };
    ($consumer:ty, version = $version:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            struct Plugin;

            impl $crate::wasm::DescribeGuest for Plugin {
                fn describe() -> $crate::wasm::Description {
                    $crate::wasm::describe::<$consumer>($version)
                }
            }

            impl $crate::wasm::WorkerGuest for Plugin {
                fn run() {
                    $crate::wasm::run::<$consumer>()
                }
            }

    $crate::bindings::export_consumer_pull!(Plugin with_types_in $crate::bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> (&'static str, &'static str) = || ($version, <$consumer as $crate::Consumer>::NAME);
    };
}

/// Makes a [`Projection`](crate::Projection) the plugin that this crate builds. Once in a crate of type `cdylib`; does
/// nothing in a native build, so that the projection's tests run natively.
///
/// The plugin's version is that of the crate, unless another is given: `export_projection!(Board, version = "0.2.0")`.
#[macro_export]
macro_rules! export_projection {
    ($projection:ty) => {
        $crate::export_projection!($projection, version = env!("CARGO_PKG_VERSION"));
    };
    ($projection:ty, version = $version:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::projection_wasm as projection;

            struct Plugin;

            impl projection::DescribeGuest for Plugin {
                fn describe() -> projection::Description {
                    projection::describe::<$projection>($version)
                }
            }

            impl projection::WorkerGuest for Plugin {
                fn run() {
                    projection::run::<$projection>()
                }
            }

            impl projection::QueriesGuest for Plugin {
                fn answer(
                    question: String,
                    parameters: Option<projection::Data>,
                ) -> Result<Option<projection::Data>, projection::GuestRefusal> {
                    projection::answer::<$projection>(question, parameters)
                }

                fn combine(
                    question: String,
                    parameters: Option<projection::Data>,
                    answers: Vec<Option<projection::Data>>,
                ) -> Result<Option<projection::Data>, projection::GuestRefusal> {
                    projection::combine::<$projection>(question, parameters, answers)
                }
            }

            $crate::projection_bindings::export_projection_pull!(
                Plugin with_types_in $crate::projection_bindings
            );
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> (&'static str, &'static str) = || {
            fn is_one<P: $crate::Projection>() {
                const { assert!(P::PUBLISHES.is_empty(), "a projection can't publish") };
            }
            is_one::<$projection>();
            ($version, <$projection as $crate::Consumer>::NAME)
        };
    };
}

/// Makes a [`Saga`](crate::Saga) the plugin that this crate builds, as [`export!`](crate::export!) does with a consumer.
///
/// The plugin's version is that of the crate, unless another is given: `export_saga!(Orders, version = "0.2.0")`.
#[macro_export]
macro_rules! export_saga {
    ($saga:ty) => {
        $crate::export!($crate::SagaConsumer<$saga>);
    };
    ($saga:ty, version = $version:expr) => {
        $crate::export!($crate::SagaConsumer<$saga>, version = $version);
    };
}
