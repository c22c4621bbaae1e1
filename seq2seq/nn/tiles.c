/* Products with a matrix that is used many times, on the matrix unit of newer Xeons (AMX).
 *
 * A recurrence multiplies some 64 rows by the same matrices at each step, a beam search five or some hundred. A
 * library's product arranges the matrix for the unit's tiles every time, which costs more than so few multiplications;
 * here it is arranged once. Factors are bfloat16, sums float32. Where the unit is missing `tiles_usable` says so, and
 * PyTorch multiplies.
 */

#include "kernels.h"

#include <omp.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__) && __GNUC__ >= 12

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOR_TILES __attribute__((target("arch=x86-64-v4,amx-tile,amx-bf16,avx512bf16")))

/* Rows of a tile, numbers in each of its rows; columns of a unit of work, two tiles side by side. */
enum { TILE = 16, DEPTH = 32, WIDTH = 32 };

/* Whether the processor has the unit and the system lets this process use it, which has to be asked for. */
int64_t tiles_usable(void) {
    const unsigned tile = 1u << 24, bf16 = 1u << 22, vector_bf16 = 1u << 5;
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512bw")) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tile) == 0 || (d & bf16) == 0) return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & vector_bf16) == 0) return 0;
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/* What a tile register holds; 0 to 3 are sums of two tiles of rows by two of columns, 4 and 5 rows of x, 6 and 7
 * columns of the matrix. */
typedef struct {
    uint8_t palette, start, unused[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Configuration;

FOR_TILES static void configure(int64_t rows) {
    Configuration it = {.palette = 1};
    const uint8_t upper = (uint8_t)(rows < TILE ? rows : TILE), lower = (uint8_t)(rows > TILE ? rows - TILE : 1);
    for (int i = 0; i < 8; i++) it.bytes[i] = 64;
    it.rows[0] = it.rows[1] = it.rows[4] = upper;
    it.rows[2] = it.rows[3] = it.rows[5] = lower;
    it.rows[6] = it.rows[7] = TILE;
    __asm__ volatile("" : : "r"(&it) : "memory"); /* all of it is read, which the next line does not tell */
    _tile_loadconfig(&it);
}

/* Sums (rows, 16) to their place; columns beyond the last are filling. */
FOR_TILES static inline void store(
    const TileProduct *p, const float *sums, int64_t product, int64_t row, int64_t rows, int64_t column
) {
    const int64_t left = p->outputs - column, at = (product * p->rows + row) * p->outputs + column;
    if (left <= 0) return;
    const __mmask16 kept = left < TILE ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
    if (p->wide) {
        const float *bias = p->bias + product * p->bias_product + row * p->bias_row + column;
        float *out = (float *)p->out + at;
        for (int64_t i = 0; i < rows; i++) {
            __m512 sum = _mm512_load_ps(sums + i * TILE);
            sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(kept, bias + i * p->bias_row));
            _mm512_mask_storeu_ps(out + i * p->outputs, kept, sum);
        }
    } else {
        uint16_t *out = (uint16_t *)p->out + at;
        for (int64_t i = 0; i < rows; i++) {
            __m256i sum = (__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(sums + i * TILE));
            _mm256_mask_storeu_epi16(out + i * p->outputs, kept, sum);
        }
    }
}

/* Up to 32 rows by 32 columns; `row` and `column` are the first ones. */
FOR_TILES static void block(
    const TileProduct *p, const uint16_t *x, int64_t stride, const uint16_t *packed, int64_t product, int64_t row,
    int64_t rows, int64_t column
) {
    _Alignas(64) float sums[4][TILE * TILE];
    const uint16_t *lower = x + TILE * stride;
    const int64_t both = rows > TILE, upper = both ? TILE : rows;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < p->inputs; i += DEPTH, packed += DEPTH * WIDTH) {
        _tile_loadd(6, packed, 64);
        _tile_loadd(4, x + i, 2 * stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, packed + DEPTH * TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (!both) continue;
        _tile_loadd(5, lower + i, 2 * stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    store(p, sums[0], product, row, upper, column);
    store(p, sums[1], product, row, upper, column + TILE);
    if (both) {
        _tile_stored(2, sums[2], 64);
        _tile_stored(3, sums[3], 64);
        store(p, sums[2], product, row + TILE, rows - TILE, column);
        store(p, sums[3], product, row + TILE, rows - TILE, column + TILE);
    }
}

/* Units first .. last, each 32 columns of one of the products. A unit's part of the matrix is read for all whole blocks
 * of rows one after the other, and once more for the rows that are left: between them tiles change their shape. */
FOR_TILES static void multiply(const TileProduct *p, int64_t t, int64_t first, int64_t last) {
    const int64_t wide = (p->outputs + WIDTH - 1) / WIDTH, whole = p->rows / WIDTH * WIDTH;
    const int64_t stride = p->wide ? p->inputs : p->x_row, between = p->wide ? p->rows * p->inputs : p->x_product;
    const uint16_t *all = p->wide ? p->narrowed : (const uint16_t *)p->x + t * p->x_step;
    for (int64_t from = 0; from < p->rows; from = from < whole ? whole : p->rows) {
        const int64_t to = from < whole ? whole : p->rows, rows = from < whole ? WIDTH : p->rows - whole;
        configure(rows);
        for (int64_t unit = first; unit < last; unit++) {
            const int64_t product = unit / wide, column = unit % wide * WIDTH;
            const uint16_t *x = all + product * between, *packed = p->packed + unit * WIDTH * p->inputs;
            for (int64_t row = from; row < to; row += WIDTH)
                block(p, x + row * stride, stride, packed, product, row, rows, column);
        }
    }
    _tile_release();
}

/* Rows first .. last of D * R, rounded to bfloat16. */
FOR_TILES static void narrow(const TileProduct *p, int64_t t, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const float *x = (const float *)p->x + t * p->x_step + row / p->rows * p->x_product + row % p->rows * p->x_row;
        uint16_t *out = p->narrowed + row * p->inputs;
        for (int64_t i = 0; i < p->inputs; i += TILE)
            _mm256_storeu_si256((__m256i *)(out + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
    }
}

/* A tile of the matrix holds, in each of its 16 rows, two numbers of consecutive inputs for each of 16 columns. */
FOR_TILES static void pack(const TileProduct *p, int64_t first, int64_t last) {
    const int64_t wide = (p->outputs + WIDTH - 1) / WIDTH, by_input = p->weight_input, by_output = p->weight_output;
    uint32_t *packed = (uint32_t *)(p->packed + first * WIDTH * p->inputs);
    for (int64_t unit = first; unit < last; unit++)
        for (int64_t i = 0; i < p->inputs; i += DEPTH)
            for (int64_t half = 0; half < WIDTH; half += TILE) {
                const int64_t column = unit % wide * WIDTH + half, left = p->outputs - column;
                const int64_t columns = left < 0 ? 0 : left < TILE ? left : TILE;
                const uint16_t *from = p->weight + unit / wide * p->weight_product + i * by_input + column * by_output;
                if (columns < TILE) memset(packed, 0, TILE * TILE * 4);
                for (int64_t k = 0; k < TILE; k++, packed += TILE) {
                    const uint16_t *even = from + 2 * k * by_input, *odd = even + by_input;
                    if (by_input == 1)
                        for (int64_t j = 0; j < columns; j++) memcpy(packed + j, even + j * by_output, 4);
                    else
                        for (int64_t j = 0; j < columns; j++) packed[j] = even[j] | (uint32_t)odd[j] << 16;
                }
            }
}

/* `packed` from `weight`. */
void tile_pack(const TileProduct *p, int64_t t) {
    (void)t;
#pragma omp parallel num_threads((int)p->threads) if (p->threads > 1)
    {
        int64_t parts = omp_get_num_threads(), part = omp_get_thread_num();
        int64_t units = p->count * ((p->outputs + WIDTH - 1) / WIDTH);
        pack(p, units * part / parts, units * (part + 1) / parts);
    }
}

/* `out` from `x` of step t and `packed`; how rows and units are shared out changes no number. */
void tile_part(const TileProduct *p, int64_t t, int64_t part, int64_t parts) {
    const int64_t rows = p->count * p->rows, units = p->count * ((p->outputs + WIDTH - 1) / WIDTH);
    if (p->wide) {
        narrow(p, t, rows * part / parts, rows * (part + 1) / parts);
#pragma omp barrier
    }
    multiply(p, t, units * part / parts, units * (part + 1) / parts);
}

void tile_product(const TileProduct *p, int64_t t) {
#pragma omp parallel num_threads((int)p->threads) if (p->threads > 1)
    tile_part(p, t, omp_get_thread_num(), omp_get_num_threads());
}

#else

int64_t tiles_usable(void) { return 0; }
void tile_pack(const TileProduct *p, int64_t t) { (void)p, (void)t; }
void tile_part(const TileProduct *p, int64_t t, int64_t part, int64_t parts) { (void)p, (void)t, (void)part, (void)parts; }
void tile_product(const TileProduct *p, int64_t t) { (void)p, (void)t; }

#endif
