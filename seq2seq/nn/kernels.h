/* What kernels.py and the compiled files hand to each other: the structures that ctypes fills, with the same fields. */

#ifndef SEQ2SEQ_KERNELS_H
#define SEQ2SEQ_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* One copy for each generation of processors, chosen by what the processor can when the library is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

typedef struct {
    int64_t directions, batch, size;           /* D, B, H */
    int64_t products, between;                 /* columns of from_state; of an attention's query in grads */
    int64_t x_step, x_direction, x_row;        /* strides of x, in numbers */
    int64_t narrow, x_narrow, threads;
    const void *x;                             /* (T, D, B, 3H) input terms */
    const void *more;                          /* (D, B, 3H) added to the input terms of this step, or null */
    const void *from_state;                    /* (D, B, P): last are U_n h (only reset after), U_r h, U_z h */
    const void *from_reset;                    /* (D, B, H) reset before: U_n (r * h); in backward by r * h */
    const float *bias;                         /* (D, H) b_n, or null */
    const float *mask;                         /* (D, B, H) or null */
    float *states;                             /* (T + 1, D, B, H) */
    float *gates;                              /* (T, D, B, 3H) r, z, n */
    void *inner;                               /* (T, D, B, H) U_n h + b_n in float32; reset before: what U_n sees */
    void *inputs;                              /* (T, D, B, H) what the products see, or null where that is `states` */
    int64_t steps;                             /* T */
    const float *grad_states;                  /* (T, D, B, H) */
    const void *through;                       /* (D, B, H) gradient of the masked h_{t+1} by the products, or null */
    float *carry;                              /* (D, B, H) gradient of h_{t+1}, then of h_t, but by `through` */
    void *grads;                               /* (T, D, B, between + 4H or 3H) of the query, U_n h if there, r, z, n */
} Recurrence;

typedef struct {
    int64_t batch, length, width, context;     /* B (in decoding B * K), S, A, C */
    int64_t hypotheses;                        /* K: so many rows, one after the other, read the same keys and values */
    int64_t products, grad_columns;            /* columns of from_state, of grads */
    int64_t narrow, threads;
    const int64_t *lengths;                    /* (B / K,) tokens, at the front */
    const float *keys;                         /* (B / K, S, A) doubled */
    const float *values;                       /* (B / K, S, C) */
    const float *v;                            /* (A,) doubled */
    const void *from_state;                    /* (B, P): the first A columns are the doubled query */
    const void *query_terms;                   /* (T, B, A) added to it, or null */
    float *queries;                            /* (T, B, A) */
    float *weights;                            /* (T, B, S) */
    float *contexts;                           /* (T, B, C) */
    void *inputs;                              /* (T, B, C) what the products see of the contexts, or null */
    const void *by_terms;                      /* (B, C) gradient of the context of this step by the input terms */
    float *grad_contexts;                      /* (T, B, C) from outside; then of all paths */
    float *grad_keys;                          /* (B, S, A) summed over steps, but for the factor v */
    float *grad_v;                             /* (B, A) summed over steps */
    void *grads;                               /* (T, B, columns): the first A are those of the doubled query */
} Attention;

typedef struct {
    int64_t chunk, whole, count, vocabulary;   /* rows a call, rows in all, those of them that are no filling; V */
    int64_t wanted;                            /* whether the gradient is */
    int64_t narrow, threads;
    void *logits;                              /* (chunk, V); then the gradient */
    const int64_t *labels;                     /* (count,) */
    const float *shares;                       /* (count,) factors of the gradient, or null */
    float kept;                                /* 1 - smoothing */
    float *log_p;                              /* (whole,) kept * logit of the label - log of the normaliser */
    float *scratch;                            /* (threads, V) */
} CrossEntropy;

typedef struct {
    int64_t size, threshold, threads;
    float scale;
    const float *x;                            /* (size,) */
    const int16_t *draws;                      /* (size,) where below the threshold, the number stays */
    float *out;                                /* (size,) */
} Dropout;

typedef struct {
    int64_t rows, columns, stride;             /* R, N; of x, or of bias: 0 where all rows have the same */
    int64_t narrow, threads;
    const void *x;                             /* (R, N) float32; for `finish` what a product gave, int32 or bfloat16 */
    const float *bias;                         /* (R, N) or (N,) */
    const float *steps;                        /* (N,) of int8 weights */
    float *row_steps;                          /* (R,) of int8 inputs, or null: one step for all */
    float factor;                              /* one over that step */
    void *out;                                 /* (R, N) int8, or float32 */
} Rows;

typedef struct {
    int64_t count, rows, inputs, outputs;      /* D products side by side; R, I, O; I is a multiple of 32 */
    int64_t x_step, x_product, x_row;          /* strides of x, in numbers */
    int64_t weight_product, weight_input, weight_output; /* strides of weight; one of the last two is 1 */
    int64_t bias_product, bias_row;            /* strides of bias: the last is 0 where all rows have the same */
    int64_t wide, threads;                     /* whether x and out are float32, with a bias, or bfloat16, without */
    const void *x;                             /* (T, D, R, I) */
    uint16_t *narrowed;                        /* (D, R, I) for x in bfloat16 where it is float32 */
    const uint16_t *weight;                    /* (D, I, O) */
    uint16_t *packed;                          /* (D, O / 32 rounded up, I / 32, 2, 16, 16, 2): what the tiles load */
    const float *bias;                         /* (D, R or 1, O) */
    void *out;                                 /* (D, R, O) x_t W + bias, of one step */
} TileProduct;

typedef struct {
    int64_t rows, hypotheses, length;          /* R = B * K, K, S */
    int64_t size, width, context, read;        /* H, A, C, readout before the output layer */
    int64_t vocabulary, columns, threads;      /* V; of table: 3H + read, and A where the query sees the token */
    int64_t count, block, bans;                /* c, 0 where logits are wanted; rows of a block; banned pieces */
    const int64_t *tokens;                     /* (R,) previous pieces */
    const float *table;                        /* (V, columns) what each gives to GRU, readout and query, with biases */
    const float *state;                        /* (R, H) */
    const int64_t *lengths;                    /* (B,) */
    const float *keys, *values, *v;            /* (B, S, A) doubled, (B, S, C), (A,) doubled */
    uint16_t *from_state, *from_context;       /* packed: (H, A + 3H), (C, 3H + read) */
    uint16_t *from_output, *output;            /* (H, read), (read, V) */
    const float *state_bias, *output_bias;     /* (A + 3H,), (V,) */
    const int64_t *banned;                     /* (bans,) pieces that cannot be among the best */
    float *scratch;                            /* R * (3A + C + 15H + 3 read + 1) */
    uint16_t *narrowed;                        /* R * (H + C + H + read) */
    float *next;                               /* (R, H) */
    float *weights;                            /* (R, S) */
    float *logits;                             /* (R, V), or (block, V) for those of a block after the other */
    float *best;                               /* (R, c) largest log probabilities, as in Largest */
    int64_t *places;                           /* (R, c) their pieces */
} DecoderStep;

typedef struct {
    int64_t rows, columns, count, threads;     /* R, V, c <= V */
    const float *x;                            /* (R, V) */
    float *best;                               /* (R, c) the largest of each row, in order; of equal ones the first */
    int64_t *places;                           /* (R, c) their columns */
} Largest;

/* e^x = 2^k e^r with |r| <= log(2) / 2, e^r by its series; relative error about 2e-7. */
INLINE float exponential(float x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves an integer in the low bits */
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float k = x * 1.44269504f + round;
    uint32_t bits;
    memcpy(&bits, &k, 4);
    k -= round;
    float r = x - k * 0.693145752f - k * 1.42860677e-6f;
    float series = 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    bits = (bits << 23) + 0x3f800000u;
    float power;
    memcpy(&power, &bits, 4);
    return series * power;
}

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE float hyperbolic_tangent(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

/* log sum_j e^(x_j) */
INLINE float log_sum(const float *x, int64_t size) {
    float most = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : most)
    for (int64_t j = 0; j < size; j++) most = x[j] > most ? x[j] : most;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < size; j++) total += exponential(x[j] - most);
    return most + logf(total);
}

/* Rows, or units of work, first .. last of step t. */
void attend_forward_rows(const void *arguments, int64_t t, int64_t first, int64_t last);
void gru_forward_rows(const void *arguments, int64_t t, int64_t first, int64_t last);
void largest_rows(const void *arguments, int64_t t, int64_t first, int64_t last);

/* The share of one thread, of `parts`, in a product; all threads of the team call it. */
void tile_part(const TileProduct *p, int64_t t, int64_t part, int64_t parts);

#endif
