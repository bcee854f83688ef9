{
  # The addon: the door and the executor, compiled for any CPU of the kind, and the kernels once per instruction set. A static
  # library each: the same sources with other flags, in a namespace of their own; the executor picks one at run time. What
  # differs from another in its int8 products only (OPENELM_BASE) is those files alone.
  'variables': {
    'kernels': ["<!@(node -p \"require('fs').readdirSync('kernels').filter(f=>f.endsWith('.cc')).map(f=>'kernels/'+f).join(' ')\")"],
    'int8_kernels': ['kernels/linear.cc', 'kernels/linear_quant.cc', 'kernels/peak.cc', 'kernels/table.cc'],
    'avx2': ['-mavx2', '-mfma', '-mf16c'],
    'avx512': ['-mavx2', '-mfma', '-mf16c', '-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mprefer-vector-width=512'],
    'vnni': ['<@(avx512)', '-mavx512vnni'],
    # A compiler before GCC 11 has no AVX-VNNI: those kernels are AVX2's then.
    'avxvnni': ['<@(avx2)', '<!@(node -p "require(\'child_process\').spawnSync(process.env.CXX||\'c++\',[\'-mavxvnni\',\'-E\',\'-xc++\',\'/dev/null\']).status===0?\'-mavxvnni\':\'\'")'],
    'avxvnni_evex': ['<@(avx2)', '-mavx512f', '-mavx512vl', '-mavx512vnni', '-mprefer-vector-width=256'],
    'dotprod': ['-march=armv8.2-a+dotprod'],
    'i8mm': ['-march=armv8.2-a+dotprod+i8mm'],
    # GCC 12 takes the don't-care operand of its own AVX-512 intrinsics for an uninitialized variable.
    'common': ['-ffp-contract=off', '-fno-math-errno', '-Wno-unknown-warning-option', '-Wno-uninitialized', '-Wno-maybe-uninitialized'],
  },
  'target_defaults': {
    'cflags!': ['-O3'],
    'cflags': ['-O2', '-fvisibility=hidden', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Wno-psabi'],
    'cflags_cc!': ['-fno-exceptions', '-std=gnu++17', '-std=gnu++20', '-O3'],
    'cflags_cc': ['-std=c++17'],
    'xcode_settings': {
      'GCC_OPTIMIZATION_LEVEL': '2',
      'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
      'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
      'CLANG_CXX_LANGUAGE_STANDARD': 'c++17',
      'CLANG_CXX_LIBRARY': 'libc++',
      'MACOSX_DEPLOYMENT_TARGET': '11.0',
    },
  },
  'targets': [
    {
      'target_name': 'openelm',
      'sources': ['node.cc', 'encode.cc', 'cpu.cc', 'executor.cc', 'program.cc', 'runs.cc', 'pool.cc', 'memory.cc', 'system.cc', 'shared.cc', 'roofline.cc'],
      'cflags': ['-ffp-contract=off'],
      'xcode_settings': {'OTHER_CFLAGS': ['-ffp-contract=off']},
      'dependencies': ['kernels_plain'],
      'conditions': [
        ['target_arch=="x64"', {'dependencies': ['kernels_avx2', 'kernels_avxvnni', 'kernels_avxvnni_evex', 'kernels_avx512', 'kernels_vnni']}],
        ['target_arch=="arm64"', {'dependencies': ['kernels_neon', 'kernels_dotprod', 'kernels_i8mm']}],
      ],
    },
    {
      'target_name': 'kernels_plain',
      'type': 'static_library',
      'sources': ['<@(kernels)'],
      'defines': ['OPENELM_ISA=plain'],
      'cflags': ['<@(common)'],
      'xcode_settings': {'OTHER_CFLAGS': ['<@(common)']},
    },
  ],
  'conditions': [
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'kernels_avx2',
          'type': 'static_library',
          'sources': ['<@(kernels)'],
          'defines': ['OPENELM_ISA=avx2'],
          'cflags': ['<@(common)', '<@(avx2)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(avx2)']},
        },
        {
          'target_name': 'kernels_avxvnni',
          'type': 'static_library',
          'sources': ['<@(int8_kernels)'],
          'defines': ['OPENELM_ISA=avxvnni', 'OPENELM_BASE=avx2'],
          'cflags': ['<@(common)', '<@(avxvnni)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(avxvnni)']},
        },
        {
          'target_name': 'kernels_avxvnni_evex',
          'type': 'static_library',
          'sources': ['<@(int8_kernels)'],
          'defines': ['OPENELM_ISA=avxvnni_evex', 'OPENELM_BASE=avx2', 'OPENELM_EVEX'],
          'cflags': ['<@(common)', '<@(avxvnni_evex)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(avxvnni_evex)']},
        },
        {
          'target_name': 'kernels_avx512',
          'type': 'static_library',
          'sources': ['<@(kernels)'],
          'defines': ['OPENELM_ISA=avx512'],
          'cflags': ['<@(common)', '<@(avx512)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(avx512)']},
        },
        {
          'target_name': 'kernels_vnni',
          'type': 'static_library',
          'sources': ['<@(int8_kernels)'],
          'defines': ['OPENELM_ISA=vnni', 'OPENELM_BASE=avx512'],
          'cflags': ['<@(common)', '<@(vnni)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(vnni)']},
        },
      ],
    }],
    ['target_arch=="arm64"', {
      'targets': [
        {
          'target_name': 'kernels_neon',
          'type': 'static_library',
          'sources': ['<@(kernels)'],
          'defines': ['OPENELM_ISA=neon', 'OPENELM_NEON'],
          'cflags': ['<@(common)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)']},
        },
        {
          'target_name': 'kernels_dotprod',
          'type': 'static_library',
          'sources': ['<@(int8_kernels)'],
          'defines': ['OPENELM_ISA=dotprod', 'OPENELM_BASE=neon', 'OPENELM_NEON', 'OPENELM_DOTPROD'],
          'cflags': ['<@(common)', '<@(dotprod)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(dotprod)']},
        },
        {
          'target_name': 'kernels_i8mm',
          'type': 'static_library',
          'sources': ['<@(int8_kernels)'],
          'defines': ['OPENELM_ISA=i8mm', 'OPENELM_BASE=neon', 'OPENELM_NEON', 'OPENELM_I8MM'],
          'cflags': ['<@(common)', '<@(i8mm)'],
          'xcode_settings': {'OTHER_CFLAGS': ['<@(common)', '<@(i8mm)']},
        },
      ],
    }],
  ],
}
