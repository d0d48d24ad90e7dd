"""Builds the extension modules of `sealserve.native`; everything else stands in pyproject.toml.

SEALSERVE_SANITIZE=address,undefined builds them with those sanitizers (native/README.md).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("src/sealserve/native")
SANITIZERS = os.environ.get("SEALSERVE_SANITIZE", "")
COMPILE = ["-O3", "-std=c11", "-fvisibility=hidden", "-fstack-protector-strong", "-g0"]
LINK = ["-Wl,-z,relro,-z,now"]
if SANITIZERS:
    sanitize = [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all"]
    COMPILE = ["-O1", "-std=c11", "-g1", "-fno-omit-frame-pointer", *sanitize]
    LINK = sanitize
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]

# Each C source belongs to one module; the others reach it through cdef functions of that one.
HTTP2 = NATIVE / "src/nghttp2.c"
C_SOURCES = {
    "crypto": sorted(str(path) for path in NATIVE.glob("src/*.c") if path != HTTP2),
    "http2": [str(HTTP2)],
}


class BuildExt(build_ext):
    """Compiles our own C with warnings as errors; what Cython generated cannot promise that."""

    def build_extension(self, ext):
        own = [source for source in ext.sources if Path(source).parent.name == "src"]
        ext.sources = [source for source in ext.sources if source not in own]
        ext.extra_objects += self.compiler.compile(
            own,
            output_dir=self.build_temp,
            include_dirs=ext.include_dirs,
            extra_postargs=[*ext.extra_compile_args, *STRICT],
            depends=ext.depends,
        )
        super().build_extension(ext)


def extension(path):
    name = path.stem
    return Extension(
        f"sealserve.native.{name}",
        [str(path), *C_SOURCES.get(name, [])],
        include_dirs=[f"{NATIVE}/src"],
        # Our own C is compiled apart, but what changed in it has to be linked all the same.
        depends=[*map(str, NATIVE.glob("src/*.h")), *C_SOURCES.get(name, [])],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
    )


setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=cythonize(
        [extension(path) for path in sorted(NATIVE.glob("*.pyx"))],
        include_path=["src"],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    ),
)
