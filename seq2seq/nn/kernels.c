/* What recurrent steps compute besides their matrix products, each kernel in one pass over the memory.
 *
 * Written out in PyTorch a step is some twenty operations, each of which starts the threads, reads and writes memory
 * and rounds or widens numbers of its own. Here are forward and backward of the GRU and of additive attention, the
 * cross-entropy, dropout, and what decoding does around its products. The equations and names are those of gru.py,
 * attention.py, loss.py and product.py, whose PyTorch code does the same where this file was not compiled. Numbers are
 * float32; what goes into products and comes from them is float32 or, where `narrow` is set, bfloat16.
 */

#include "kernels.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* kernels.py compares: a library of another version would read wrong memory. The first number changes with the rest. */
const int64_t kernels_interface[] = {
    5, sizeof(Recurrence), sizeof(Attention), sizeof(CrossEntropy), sizeof(Dropout), sizeof(Rows),
    sizeof(TileProduct), sizeof(DecoderStep), sizeof(Largest),
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

/* Where a row of step t lies in the arrays of a recurrence. */
INLINE int64_t place(const Recurrence *p, int64_t t, int64_t row) { return t * p->directions * p->batch + row; }

INLINE const void *input_terms(const Recurrence *p, int64_t t, int64_t row, int x_narrow) {
    return at(p->x, t * p->x_step + row / p->batch * p->x_direction + row % p->batch * p->x_row, x_narrow);
}

/* r and z lie side by side, and so do what they are sums of; U_r h and U_z h are the last columns of from_state. */
INLINE void open_gates(const Recurrence *p, int64_t t, int64_t row, int narrow, int x_narrow) {
    const int64_t size = p->size;
    const void *x = input_terms(p, t, row, x_narrow);
    const void *more = p->more ? at(p->more, row * 3 * size, narrow) : 0;
    const void *from_state = at(p->from_state, (row + 1) * p->products - 2 * size, narrow);
    float *gates = p->gates + place(p, t, row) * 3 * size;
    for (int64_t j = 0; j < 2 * size; j++) gates[j] = load(x, j, x_narrow) + load(from_state, j, narrow);
    if (more)
        for (int64_t j = 0; j < 2 * size; j++) gates[j] += load(more, j, narrow);
    for (int64_t j = 0; j < 2 * size; j++) gates[j] = sigmoid(gates[j]);
}

/* n from all of its sum but `more`, the next state, and what the next step's products see of it. */
INLINE void next_state(const Recurrence *p, int64_t t, int64_t row, int narrow) {
    const int64_t size = p->size, at_t = place(p, t, row), at_next = place(p, t + 1, row);
    const void *more = p->more ? at(p->more, row * 3 * size, narrow) : 0;
    const float *state = p->states + at_t * size, *z = p->gates + at_t * 3 * size + size;
    float *n = p->gates + at_t * 3 * size + 2 * size, *next = p->states + at_next * size;
    if (more)
        for (int64_t j = 0; j < size; j++) n[j] += load(more, 2 * size + j, narrow);
    for (int64_t j = 0; j < size; j++) {
        float candidate = hyperbolic_tangent(n[j]);
        n[j] = candidate;
        next[j] = candidate + z[j] * (state[j] - candidate);
    }
    if (p->inputs && t + 1 < p->steps) {
        void *input = (void *)at(p->inputs, at_next * size, narrow);
        const float *mask = p->mask ? p->mask + row * size : 0;
        if (mask)
            for (int64_t j = 0; j < size; j++) store(input, j, next[j] * mask[j], narrow);
        else
            for (int64_t j = 0; j < size; j++) store(input, j, next[j], narrow);
    }
}

INLINE void gru_forward_row(const Recurrence *p, int64_t t, int64_t row, int narrow, int x_narrow) {
    const int64_t size = p->size, at_t = place(p, t, row);
    const void *x = input_terms(p, t, row, x_narrow);
    const void *from_state = at(p->from_state, (row + 1) * p->products - 3 * size, narrow);
    const float *bias = p->bias ? p->bias + row / p->batch * size : 0, *r = p->gates + at_t * 3 * size;
    float *n = p->gates + at_t * 3 * size + 2 * size, *inner = (float *)p->inner + at_t * size;
    open_gates(p, t, row, narrow, x_narrow);
    for (int64_t j = 0; j < size; j++) inner[j] = load(from_state, j, narrow);
    if (bias)
        for (int64_t j = 0; j < size; j++) inner[j] += bias[j];
    for (int64_t j = 0; j < size; j++) n[j] = load(x, 2 * size + j, x_narrow) + r[j] * inner[j];
    next_state(p, t, row, narrow);
}

/* Reset before the product: a step is r, z and r * h; then the product; then n and the next state. */

INLINE void gru_reset_row(const Recurrence *p, int64_t t, int64_t row, int narrow, int x_narrow) {
    const int64_t size = p->size, at_t = place(p, t, row);
    const float *r = p->gates + at_t * 3 * size, *state = p->states + at_t * size;
    const float *mask = p->mask ? p->mask + row * size : 0;
    void *inner = (void *)at(p->inner, at_t * size, narrow);
    open_gates(p, t, row, narrow, x_narrow);
    if (mask)
        for (int64_t j = 0; j < size; j++) store(inner, j, r[j] * (state[j] * mask[j]), narrow);
    else
        for (int64_t j = 0; j < size; j++) store(inner, j, r[j] * state[j], narrow);
}

INLINE void gru_candidate_row(const Recurrence *p, int64_t t, int64_t row, int narrow, int x_narrow) {
    const int64_t size = p->size;
    const void *x = input_terms(p, t, row, x_narrow), *from_reset = at(p->from_reset, row * size, narrow);
    float *n = p->gates + place(p, t, row) * 3 * size + 2 * size;
    for (int64_t j = 0; j < size; j++) n[j] = load(x, 2 * size + j, x_narrow) + load(from_reset, j, narrow);
    next_state(p, t, row, narrow);
}

/* To the gradient of h_{t+1}, that by the products of the step after it. */
INLINE void join_paths(const Recurrence *p, int64_t row, int narrow) {
    const int64_t size = p->size;
    const void *through = p->through ? at(p->through, row * size, narrow) : 0;
    const float *mask = p->mask ? p->mask + row * size : 0;
    float *carry = p->carry + row * size;
    if (through && mask)
        for (int64_t j = 0; j < size; j++) carry[j] += load(through, j, narrow) * mask[j];
    else if (through)
        for (int64_t j = 0; j < size; j++) carry[j] += load(through, j, narrow);
}

/* The columns of z and n, and where the reset came after the product those of U_n h and r as well. */
INLINE void backward_row(const Recurrence *p, int64_t t, int64_t row, int narrow, int reset_after) {
    const int64_t size = p->size, at_t = place(p, t, row), columns = p->between + (reset_after ? 4 : 3) * size;
    const float *r = p->gates + at_t * 3 * size, *z = r + size, *n = z + size;
    const float *inner = (const float *)p->inner + at_t * size, *previous = p->states + at_t * size;
    const float *outside = p->grad_states + at_t * size;
    float *carry = p->carry + row * size;
    void *by_inner = (void *)at(p->grads, at_t * columns + p->between, narrow);
    void *grads = (void *)at(p->grads, (at_t + 1) * columns - 3 * size, narrow);
    join_paths(p, row, narrow);
#pragma GCC ivdep
    for (int64_t j = 0; j < size; j++) {
        float grad = outside[j] + carry[j];
        float by_n = grad * (1.0f - z[j]) * (1.0f - n[j] * n[j]);
        if (reset_after) {
            store(by_inner, j, by_n * r[j], narrow);
            store(grads, j, by_n * inner[j] * r[j] * (1.0f - r[j]), narrow);
        }
        store(grads, size + j, grad * (previous[j] - n[j]) * z[j] * (1.0f - z[j]), narrow);
        store(grads, 2 * size + j, by_n, narrow);
        carry[j] = grad * z[j];
    }
}

INLINE void gru_backward_row(const Recurrence *p, int64_t t, int64_t row, int narrow) {
    backward_row(p, t, row, narrow, 1);
}

INLINE void gru_candidate_backward_row(const Recurrence *p, int64_t t, int64_t row, int narrow) {
    backward_row(p, t, row, narrow, 0);
}

INLINE void gru_reset_backward_row(const Recurrence *p, int64_t t, int64_t row, int narrow) {
    const int64_t size = p->size, at_t = place(p, t, row);
    const float *r = p->gates + at_t * 3 * size, *previous = p->states + at_t * size;
    const float *mask = p->mask ? p->mask + row * size : 0;
    const void *from_reset = at(p->from_reset, row * size, narrow);
    float *carry = p->carry + row * size;
    void *grads = (void *)at(p->grads, at_t * (p->between + 3 * size) + p->between, narrow);
#pragma GCC ivdep
    for (int64_t j = 0; j < size; j++) {
        float by_inner = load(from_reset, j, narrow) * (mask ? mask[j] : 1.0f);
        store(grads, j, by_inner * previous[j] * r[j] * (1.0f - r[j]), narrow);
        carry[j] += by_inner * r[j];
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

/* `out` may be `x`. */
INLINE void log_softmax_row(const Rows *p, int64_t row) {
    const float *x = (const float *)p->x + row * p->stride;
    float *out = (float *)p->out + row * p->columns;
    const float normaliser = log_sum(x, p->columns);
#pragma GCC ivdep
    for (int64_t j = 0; j < p->columns; j++) out[j] = x[j] - normaliser;
}

enum { BLOCK = 64 };

/* Puts a number into a sorted list; equal ones stay in front of it. */
INLINE void insert(float *best, int64_t *places, int64_t count, float x, int64_t place) {
    int64_t at = count - 1;
    for (; at > 0 && x > best[at - 1]; at--) {
        best[at] = best[at - 1];
        if (places) places[at] = places[at - 1];
    }
    best[at] = x;
    if (places) places[at] = place;
}

/* The largest `count` of a row lie in blocks whose own largest number is among the largest `count` of these. */
INLINE void largest_row(const Largest *p, int64_t row) {
    const int64_t columns = p->columns, blocks = (columns + BLOCK - 1) / BLOCK, count = p->count;
    const float *x = p->x + row * columns;
    float *best = p->best + row * count, of_block[blocks], least = -INFINITY;
    int64_t *places = p->places + row * count;
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) best[i] = -INFINITY;
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t last = (b + 1) * BLOCK < columns ? (b + 1) * BLOCK : columns;
        float most = -INFINITY;
#pragma omp simd reduction(max : most)
        for (int64_t j = b * BLOCK; j < last; j++) most = x[j] > most ? x[j] : most;
        of_block[b] = most;
        if (most > best[count - 1]) insert(best, 0, count, most, 0);
    }
    if (blocks > count) least = best[count - 1];
    for (int64_t i = 0; i < count; i++) best[i] = -INFINITY;
    for (int64_t b = 0; b < blocks; b++) {
        if (of_block[b] < least) continue;
        const int64_t last = (b + 1) * BLOCK < columns ? (b + 1) * BLOCK : columns;
        for (int64_t j = b * BLOCK; j < last; j++)
            if (x[j] > best[count - 1]) insert(best, places, count, x[j], j), found++;
    }
    for (int64_t j = 0; found < count && j < columns; j++) /* minus infinity, or no number */
        if (!(x[j] > -INFINITY)) places[found++] = j;
}

/* Rows first .. last of a step. The flags are constants in each call, so that the loops have no branches. */

#define FORWARD_ROWS(name, each)                                                                          \
    FOR_EACH_PROCESSOR void name(const void *arguments, int64_t t, int64_t first, int64_t last) {         \
        const Recurrence *p = arguments;                                                                  \
        for (int64_t row = first; row < last; row++) {                                                    \
            if (!p->narrow)                                                                               \
                each(p, t, row, 0, 0);                                                                    \
            else if (p->x_narrow)                                                                         \
                each(p, t, row, 1, 1);                                                                    \
            else                                                                                          \
                each(p, t, row, 1, 0);                                                                    \
        }                                                                                                 \
    }
FORWARD_ROWS(gru_forward_rows, gru_forward_row)
FORWARD_ROWS(gru_reset_rows, gru_reset_row)
FORWARD_ROWS(gru_candidate_rows, gru_candidate_row)

#define BACKWARD_ROWS(name, each)                                                                         \
    FOR_EACH_PROCESSOR void name(const void *arguments, int64_t t, int64_t first, int64_t last) {         \
        const Recurrence *p = arguments;                                                                  \
        for (int64_t row = first; row < last; row++)                                                      \
            if (p->narrow)                                                                                \
                each(p, t, row, 1);                                                                       \
            else                                                                                          \
                each(p, t, row, 0);                                                                       \
    }
BACKWARD_ROWS(gru_backward_rows, gru_backward_row)
BACKWARD_ROWS(gru_candidate_backward_rows, gru_candidate_backward_row)
BACKWARD_ROWS(gru_reset_backward_rows, gru_reset_backward_row)

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

FOR_EACH_PROCESSOR void largest_rows(const void *arguments, int64_t start, int64_t first, int64_t last) {
    for (int64_t row = start + first; row < start + last; row++) largest_row(arguments, row);
}

typedef void (*Work)(const void *arguments, int64_t t, int64_t first, int64_t last);

static void share(Work work, const void *arguments, int64_t t, int64_t count, int64_t threads) {
#pragma omp parallel num_threads((int)threads) if (threads > 1)
    {
        int64_t parts = omp_get_num_threads(), part = omp_get_thread_num();
        work(arguments, t, count * part / parts, count * (part + 1) / parts);
    }
}

#define RECURRENT(name) \
    void name(const Recurrence *p, int64_t t) { share(name##_rows, p, t, p->directions * p->batch, p->threads); }
RECURRENT(gru_forward)
RECURRENT(gru_reset)
RECURRENT(gru_candidate)
RECURRENT(gru_backward)
RECURRENT(gru_candidate_backward)
RECURRENT(gru_reset_backward)

void attend_forward(const Attention *p, int64_t t) { share(attend_forward_rows, p, t, p->batch, p->threads); }
void attend_backward(const Attention *p, int64_t t) { share(attend_backward_rows, p, t, p->batch, p->threads); }

void cross_entropy(const CrossEntropy *p, int64_t start) {
    int64_t left = p->whole - start;
    share(cross_entropy_rows, p, start, left < p->chunk ? left : p->chunk, p->threads);
}

void quantise(const Rows *p, int64_t start) { share(quantise_rows, p, start, p->rows, p->threads); }
void finish(const Rows *p, int64_t start) { share(finish_rows, p, start, p->rows, p->threads); }
void log_softmax(const Rows *p, int64_t start) { share(log_softmax_rows, p, start, p->rows, p->threads); }
void largest(const Largest *p, int64_t start) { share(largest_rows, p, start, p->rows, p->threads); }
void drop(const Dropout *p, int64_t start) { share(drop_parts, p, start, p->size, p->threads); }
