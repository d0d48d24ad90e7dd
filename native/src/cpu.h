/* What this processor can run; the builtins also ask whether the system saves the registers. */
#ifndef SEALSERVE_CPU_H
#define SEALSERVE_CPU_H

static inline int cpu_never(void)
{
    return 0;
}

#if defined(__x86_64__)
#include <cpuid.h>

static inline int cpu_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static inline int cpu_has_vaes256(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vaes")
           && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("aes")
           && __builtin_cpu_supports("pclmul");
}

static inline int cpu_has_vaes512(void)
{
    return cpu_has_avx512() && cpu_has_vaes256();
}

/* gcc 12 has no word for it: leaf 7, EBX bit 29 (Intel SDM volume 2, CPUID). */
static inline int cpu_has_sha(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx >> 29 & 1)
           && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
}

#endif
#endif
