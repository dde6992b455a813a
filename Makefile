# The targets are few and thin: Meson builds, the scripts do.
# Each first installs what it needs and this machine lacks (tools/setup).

PREFIX = /usr/local
FUZZ_SECONDS = 60
RELEASE = --buildtype=release -Db_lto=true -Dc_args=-ffat-lto-objects -Dlibdir=lib
SANITIZED = --buildtype=debugoptimized -Dc_args=-fno-sanitize-recover=all

all: build

help:
	@echo 'make            builds the release: build/src/cli/holdfast and libholdfast'
	@echo 'make demo       serves a diagram, sends events, refuses one, pulls the plug, comes back'
	@echo 'make test       the quick tests: minutes.   tests/run NAME... runs just some'
	@echo 'make test-full  all tests: the quick ones, then nine to ten hours on two cores'
	@echo 'make bench      the table of figures, beside Redis'
	@echo 'make bench-stats  what counting and the ring cost'
	@echo 'make bench-map  the concurrent map, beside others'
	@echo 'make fuzz       builds the fuzz targets and runs each for FUZZ_SECONDS (60)'
	@echo 'make install    into PREFIX (/usr/local), below DESTDIR'
	@echo 'make format     clang-format over the C files'
	@echo 'make clean      removes what was built'

build: build/build.ninja
	@ninja -C build
build-asan: build-asan/build.ninja
	@ninja -C build-asan
build-tsan: build-tsan/build.ninja
	@ninja -C build-tsan

build/build.ninja: | setup-build
	@meson setup build $(RELEASE)
build-asan/build.ninja: | setup-build
	@meson setup build-asan $(SANITIZED) -Db_sanitize=address,undefined
build-tsan/build.ninja: | setup-build
	@meson setup build-tsan $(SANITIZED) -Db_sanitize=thread

setup-%:
	@tools/setup $*

demo: setup-demo build
	@tools/demo

test: setup-test build build-asan
	@tests/run quick

test-full: setup-test build build-asan build-tsan
	@tests/run full

bench: setup-bench build
	@bench/run

bench-stats: build
	@build/bench/stats
	@build/bench/ring

bench-map: setup-bench-map build
	@bench/map/run

fuzz: setup-fuzz
	@fuzz/run -s $(FUZZ_SECONDS)

install: build
	@meson configure build -Dprefix=$(PREFIX)
	@meson install -C build --quiet
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || ldconfig

format: setup-format
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build build-asan build-tsan build-fuzz build-builds

.NOTPARALLEL:
.PHONY: all help build build-asan build-tsan demo test test-full bench bench-map bench-stats fuzz install format clean
