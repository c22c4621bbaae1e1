/* What recurrent steps compute besides their matrix products, each kernel in one pass over the memory.
 *
 * Written out in PyTorch a step is some twenty operations, each of which starts the threads, reads and writes memory
 * and rounds or widens numbers of its own. Here are forward and backward of the GRU and of additive attention, the
 * cross-entropy, dropout, and what decoding does around its products. The equations and names are those of gru.py,
 * attention.py, loss.py and product.py, whose PyTorch code does the same where this file was not compiled. Numbers are
 * float32; what goes into products and comes from them is float32 or, where `narrow` is set, bfloat16. kernels.py holds
 * the same structures.
 */

#include <math.h>
#include <omp.h>
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
    const void *from_state;                    /* (D, B, P): the last 3H columns are U_n h, U_r h, U_z h */
    const float *bias;                         /* (D, H) b_n, or null */
    const float *mask;                         /* (D, B, H) or null */
    float *states;                             /* (T + 1, D, B, H) */
    float *gates;                              /* (T, D, B, 3H) r, z, n */
    float *inner;                              /* (T, D, B, H) U_n h + b_n */
    void *inputs;                              /* (T, D, B, H) what the products see, or null where that is `states` */
    int64_t steps;                             /* T */
    const float *grad_states;                  /* (T, D, B, H) */
    const void *through;                       /* (D, B, H) gradient of the masked h_{t+1} by the products, or null */
    float *carry;                              /* (D, B, H) gradient of h_{t+1} along the gate z, then of h_t */
    void *grads;                               /* (T, D, B, between + 4H) of the query, U_n h, r, z, n */
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

/* kernels.py compares: a library of another version would read wrong memory. The first number changes with the rest. */
const int64_t kernels_interface[] = {
    2, sizeof(Recurrence), sizeof(Attention), sizeof(CrossEntropy), sizeof(Dropout), sizeof(Rows),
};

INLINE float load(const void *from, int64_t i, int narrow) {
    if (!narrow) return ((const float *)from)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

INLINE void store(void *to, int64_t i, float x, int narrow) {
    if (!narrow) {
        ((float *)to)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, 4);
    ((uint16_t *)to)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); /* to nearest, ties to even */
}

INLINE const void *at(const void *from, int64_t i, int narrow) { return (const char *)from + i * (narrow ? 2 : 4); }

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

INLINE void gru_forward_row(const Recurrence *p, int64_t t, int64_t row, int narrow, int x_narrow) {
    const int64_t size = p->size, direction = row / p->batch, rows = p->directions * p->batch, at_t = t * rows + row;
    const void *x = at(p->x, t * p->x_step + direction * p->x_direction + row % p->batch * p->x_row, x_narrow);
    const void *more = p->more ? at(p->more, row * 3 * size, narrow) : 0;
    const void *from_state = at(p->from_state, (row + 1) * p->products - 3 * size, narrow);
    const float *bias = p->bias ? p->bias + direction * size : 0, *state = p->states + at_t * size;
    float *r = p->gates + at_t * 3 * size, *z = r + size, *n = z + size;
    float *inner = p->inner + at_t * size, *next = p->states + (at_t + rows) * size;
    for (int64_t j = 0; j < 2 * size; j++) /* r and z lie side by side in all three */
        r[j] = load(x, j, x_narrow) + load(from_state, size + j, narrow);
    if (more)
        for (int64_t j = 0; j < 2 * size; j++) r[j] += load(more, j, narrow);
    for (int64_t j = 0; j < 2 * size; j++) r[j] = sigmoid(r[j]);
    for (int64_t j = 0; j < size; j++) inner[j] = load(from_state, j, narrow);
    if (bias)
        for (int64_t j = 0; j < size; j++) inner[j] += bias[j];
    for (int64_t j = 0; j < size; j++) n[j] = load(x, 2 * size + j, x_narrow) + r[j] * inner[j];
    if (more)
        for (int64_t j = 0; j < size; j++) n[j] += load(more, 2 * size + j, narrow);
    for (int64_t j = 0; j < size; j++) {
        float candidate = 2.0f * sigmoid(2.0f * n[j]) - 1.0f;
        n[j] = candidate;
        next[j] = candidate + z[j] * (state[j] - candidate);
    }
    if (p->inputs && t + 1 < p->steps) {
        void *input = (void *)at(p->inputs, (at_t + rows) * size, narrow);
        const float *mask = p->mask ? p->mask + row * size : 0;
        if (mask)
            for (int64_t j = 0; j < size; j++) store(input, j, next[j] * mask[j], narrow);
        else
            for (int64_t j = 0; j < size; j++) store(input, j, next[j], narrow);
    }
}

INLINE void gru_backward_row(const Recurrence *p, int64_t t, int64_t row, int narrow) {
    const int64_t size = p->size, rows = p->directions * p->batch, at_t = t * rows + row;
    const float *r = p->gates + at_t * 3 * size, *z = r + size, *n = z + size;
    const float *inner = p->inner + at_t * size, *previous = p->states + at_t * size;
    const float *outside = p->grad_states + at_t * size, *mask = p->mask ? p->mask + row * size : 0;
    float *carry = p->carry + row * size;
    void *grads = (void *)at(p->grads, at_t * (p->between + 4 * size) + p->between, narrow);
    if (p->through) {
        const void *through = at(p->through, row * size, narrow);
        if (mask)
            for (int64_t j = 0; j < size; j++) carry[j] += load(through, j, narrow) * mask[j];
        else
            for (int64_t j = 0; j < size; j++) carry[j] += load(through, j, narrow);
    }
#pragma GCC ivdep
    for (int64_t j = 0; j < size; j++) {
        float grad = outside[j] + carry[j];
        float by_n = grad * (1.0f - z[j]) * (1.0f - n[j] * n[j]);
        store(grads, j, by_n * r[j], narrow);
        store(grads, size + j, by_n * inner[j] * r[j] * (1.0f - r[j]), narrow);
        store(grads, 2 * size + j, grad * (previous[j] - n[j]) * z[j] * (1.0f - z[j]), narrow);
        store(grads, 3 * size + j, by_n, narrow);
        carry[j] = grad * z[j];
    }
}

INLINE void attend_forward_row(const Attention *p, int64_t t, int64_t row, int narrow) {
    const int64_t width = p->width, at_t = t * p->batch + row, sentence = row / p->hypotheses;
    const int64_t tokens = p->lengths[sentence];
    const void *from_state = at(p->from_state, row * p->products, narrow);
    const float *keys = p->keys + sentence * p->length * width;
    const float *values = p->values + sentence * p->length * p->context;
    const float *v = p->v;
    float *query = p->queries + at_t * width, *weights = p->weights + at_t * p->length;
    float *context = p->contexts + at_t * p->context;
    for (int64_t j = 0; j < width; j++) query[j] = load(from_state, j, narrow);
    if (p->query_terms) {
        const void *terms = at(p->query_terms, at_t * width, narrow);
        for (int64_t j = 0; j < width; j++) query[j] += load(terms, j, narrow);
    }
    float part[width], most = -3.4e38f, total = 0.0f;
    for (int64_t s = 0; s < tokens; s++) {
        const float *key = keys + s * width;
        float score = 0.0f;
        for (int64_t j = 0; j < width; j++) part[j] = v[j] * sigmoid(key[j] + query[j]);
#pragma omp simd reduction(+ : score)
        for (int64_t j = 0; j < width; j++) score += part[j];
        weights[s] = score;
        most = score > most ? score : most;
    }
    for (int64_t s = 0; s < tokens; s++) total += weights[s] = exponential(weights[s] - most);
    for (int64_t s = 0; s < p->length; s++) weights[s] = s < tokens ? weights[s] / total : 0.0f;
    memset(context, 0, p->context * sizeof(float));
    for (int64_t s = 0; s < tokens; s++) {
        const float *value = values + s * p->context, weight = weights[s];
#pragma omp simd
        for (int64_t c = 0; c < p->context; c++) context[c] += weight * value[c];
    }
    if (p->inputs) {
        void *input = (void *)at(p->inputs, at_t * p->context, narrow);
        for (int64_t c = 0; c < p->context; c++) store(input, c, context[c], narrow);
    }
}

INLINE void attend_backward_row(const Attention *p, int64_t t, int64_t row, int narrow) {
    const int64_t width = p->width, at_t = t * p->batch + row, tokens = p->lengths[row];
    const float *keys = p->keys + row * p->length * width, *values = p->values + row * p->length * p->context;
    const float *query = p->queries + at_t * width, *weights = p->weights + at_t * p->length, *v = p->v;
    const void *by_terms = at(p->by_terms, row * p->context, narrow);
    float *grad = p->grad_contexts + at_t * p->context, *grad_v = p->grad_v + row * width;
    float by_query[width], by_weight[p->length + 1], mean = 0.0f;
    void *grads = (void *)at(p->grads, at_t * p->grad_columns, narrow);
    for (int64_t c = 0; c < p->context; c++) grad[c] += load(by_terms, c, narrow);
    for (int64_t s = 0; s < tokens; s++) {
        const float *value = values + s * p->context;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < p->context; c++) sum += grad[c] * value[c];
        by_weight[s] = sum;
        mean += weights[s] * sum;
    }
    memset(by_query, 0, width * sizeof(float));
    for (int64_t s = 0; s < tokens; s++) {
        const float *key = keys + s * width, by_score = weights[s] * (by_weight[s] - mean);
        float *grad_key = p->grad_keys + (row * p->length + s) * width;
        /* Computed again: to keep it for all steps costs more, in writing and reading T B S A numbers. */
#pragma GCC ivdep
        for (int64_t j = 0; j < width; j++) {
            float activation = sigmoid(key[j] + query[j]);
            float by_sum = by_score * activation * (1.0f - activation);
            grad_v[j] += by_score * activation;
            grad_key[j] += by_sum;
            by_query[j] += by_sum;
        }
    }
    for (int64_t j = 0; j < width; j++) store(grads, j, by_query[j] * v[j], narrow);
}

/* The share of smoothing, the same in each row, is subtracted elsewhere. */
INLINE void cross_entropy_row(const CrossEntropy *p, int64_t start, int64_t row, int narrow) {
    const int64_t size = p->vocabulary, at_row = start + row;
    void *logits = (void *)at(p->logits, row * size, narrow);
    float *e = p->scratch + omp_get_thread_num() * size, most = -3.4e38f, total = 0.0f;
    if (at_row >= p->count) {
        memset(logits, 0, size * (narrow ? 2 : 4));
        p->log_p[at_row] = 0.0f;
        return;
    }
    for (int64_t j = 0; j < size; j++) e[j] = load(logits, j, narrow);
#pragma omp simd reduction(max : most)
    for (int64_t j = 0; j < size; j++) most = e[j] > most ? e[j] : most;
    const float own = e[p->labels[at_row]];
    for (int64_t j = 0; j < size; j++) e[j] = exponential(e[j] - most);
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < size; j++) total += e[j];
    const float share = p->shares ? p->shares[at_row] : 1.0f, factor = share / total;
    p->log_p[at_row] = p->kept * own - most - logf(total);
    if (!p->wanted) return;
    e[p->labels[at_row]] -= p->kept * total;
    for (int64_t j = 0; j < size; j++) store(logits, j, e[j] * factor, narrow);
}

INLINE void drop_part(const Dropout *p, int64_t first, int64_t last) {
    const float *x = p->x, scale = p->scale;
    const int16_t *draws = p->draws;
    const int32_t threshold = (int32_t)p->threshold;
    float *out = p->out;
    for (int64_t i = first; i < last; i++) out[i] = draws[i] < threshold ? x[i] * scale : 0.0f;
}

INLINE void quantise_row(const Rows *p, int64_t row) {
    const float *x = (const float *)p->x + row * p->stride, round = 12582912.0f; /* as in `exponential` */
    float factor = p->factor, most = 1e-12f;
    if (p->row_steps) {
#pragma omp simd reduction(max : most)
        for (int64_t j = 0; j < p->columns; j++) {
            float size = x[j] < 0.0f ? -x[j] : x[j];
            most = size > most ? size : most;
        }
        p->row_steps[row] = most / 127.0f;
        factor = 127.0f / most;
    }
    int8_t *out = (int8_t *)p->out + row * p->columns;
    for (int64_t j = 0; j < p->columns; j++) out[j] = (int8_t)(int32_t)(x[j] * factor + round - round);
}

INLINE void finish_row(const Rows *p, int64_t row) {
    const int64_t columns = p->columns;
    const float *bias = p->bias + row * p->stride, *steps = p->steps, step = p->row_steps ? p->row_steps[row] : 1.0f;
    float *out = (float *)p->out + row * columns;
    if (p->narrow) {
        for (int64_t j = 0; j < columns; j++) out[j] = load(p->x, row * columns + j, 1) + bias[j];
    } else {
        const int32_t *x = (const int32_t *)p->x + row * columns;
        for (int64_t j = 0; j < columns; j++) out[j] = (float)x[j] * step * steps[j] + bias[j];
    }
}

INLINE void log_softmax_row(const Rows *p, int64_t row) {
    const float *x = (const float *)p->x + row * p->stride;
    float *out = (float *)p->out + row * p->columns, most = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : most)
    for (int64_t j = 0; j < p->columns; j++) most = x[j] > most ? x[j] : most;
    for (int64_t j = 0; j < p->columns; j++) out[j] = exponential(x[j] - most);
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < p->columns; j++) total += out[j];
    const float log_sum = most + logf(total);
    for (int64_t j = 0; j < p->columns; j++) out[j] = x[j] - log_sum;
}

/* Rows first .. last of a step. The flags are constants in each call, so that the loops have no branches. */

FOR_EACH_PROCESSOR void gru_forward_rows(const void *arguments, int64_t t, int64_t first, int64_t last) {
    const Recurrence *p = arguments;
    for (int64_t row = first; row < last; row++) {
        if (!p->narrow)
            gru_forward_row(p, t, row, 0, 0);
        else if (p->x_narrow)
            gru_forward_row(p, t, row, 1, 1);
        else
            gru_forward_row(p, t, row, 1, 0);
    }
}

FOR_EACH_PROCESSOR void gru_backward_rows(const void *arguments, int64_t t, int64_t first, int64_t last) {
    const Recurrence *p = arguments;
    for (int64_t row = first; row < last; row++)
        if (p->narrow)
            gru_backward_row(p, t, row, 1);
        else
            gru_backward_row(p, t, row, 0);
}

FOR_EACH_PROCESSOR void attend_forward_rows(const void *arguments, int64_t t, int64_t first, int64_t last) {
    const Attention *p = arguments;
    for (int64_t row = first; row < last; row++)
        if (p->narrow)
            attend_forward_row(p, t, row, 1);
        else
            attend_forward_row(p, t, row, 0);
}

FOR_EACH_PROCESSOR void attend_backward_rows(const void *arguments, int64_t t, int64_t first, int64_t last) {
    const Attention *p = arguments;
    for (int64_t row = first; row < last; row++)
        if (p->narrow)
            attend_backward_row(p, t, row, 1);
        else
            attend_backward_row(p, t, row, 0);
}

FOR_EACH_PROCESSOR void cross_entropy_rows(const void *arguments, int64_t start, int64_t first, int64_t last) {
    const CrossEntropy *p = arguments;
    for (int64_t row = first; row < last; row++)
        if (p->narrow)
            cross_entropy_row(p, start, row, 1);
        else
            cross_entropy_row(p, start, row, 0);
}

FOR_EACH_PROCESSOR void quantise_rows(const void *arguments, int64_t start, int64_t first, int64_t last) {
    for (int64_t row = start + first; row < start + last; row++) quantise_row(arguments, row);
}

FOR_EACH_PROCESSOR void finish_rows(const void *arguments, int64_t start, int64_t first, int64_t last) {
    for (int64_t row = start + first; row < start + last; row++) finish_row(arguments, row);
}

FOR_EACH_PROCESSOR void drop_parts(const void *arguments, int64_t start, int64_t first, int64_t last) {
    drop_part(arguments, start + first, start + last);
}

FOR_EACH_PROCESSOR void log_softmax_rows(const void *arguments, int64_t start, int64_t first, int64_t last) {
    for (int64_t row = start + first; row < start + last; row++) log_softmax_row(arguments, row);
}

typedef void (*Work)(const void *arguments, int64_t t, int64_t first, int64_t last);

static void share(Work work, const void *arguments, int64_t t, int64_t count, int64_t threads) {
#pragma omp parallel num_threads((int)threads) if (threads > 1)
    {
        int64_t parts = omp_get_num_threads(), part = omp_get_thread_num();
        work(arguments, t, count * part / parts, count * (part + 1) / parts);
    }
}

void gru_forward(const Recurrence *p, int64_t t) {
    share(gru_forward_rows, p, t, p->directions * p->batch, p->threads);
}
void gru_backward(const Recurrence *p, int64_t t) {
    share(gru_backward_rows, p, t, p->directions * p->batch, p->threads);
}
void attend_forward(const Attention *p, int64_t t) { share(attend_forward_rows, p, t, p->batch, p->threads); }
void attend_backward(const Attention *p, int64_t t) { share(attend_backward_rows, p, t, p->batch, p->threads); }

void cross_entropy(const CrossEntropy *p, int64_t start) {
    int64_t left = p->whole - start;
    share(cross_entropy_rows, p, start, left < p->chunk ? left : p->chunk, p->threads);
}

void quantise(const Rows *p, int64_t start) { share(quantise_rows, p, start, p->rows, p->threads); }
void finish(const Rows *p, int64_t start) { share(finish_rows, p, start, p->rows, p->threads); }
void log_softmax(const Rows *p, int64_t start) { share(log_softmax_rows, p, start, p->rows, p->threads); }
void drop(const Dropout *p, int64_t start) { share(drop_parts, p, start, p->size, p->threads); }
