/* A step of the decoder in beam search, as one piece of work: what prepared.py's `PreparedModel.step` computes,
 * or the best continuations of each row (`best`), whose logits then never leave the caches.
 *
 * The threads begin once and meet after each product. In PyTorch's operations and single kernels a step of five rows
 * takes more time to be called than to be computed.
 */

#include "kernels.h"

#include <omp.h>
#include <string.h>

static TileProduct product(
    const DecoderStep *p, const float *x, int64_t inputs, uint16_t *packed, int64_t outputs, const float *bias,
    int64_t bias_row, uint16_t *narrowed, float *out
) {
    TileProduct it = {.count = 1, .rows = p->rows, .inputs = inputs, .outputs = outputs, .x_row = inputs, .wide = 1};
    it.x = x, it.packed = packed, it.bias = bias, it.bias_row = bias_row, it.narrowed = narrowed, it.out = out;
    return it;
}

/* What the pieces give: to GRU and readout in one place, to the query in another. */
FOR_EACH_PROCESSOR void look_up(const DecoderStep *p, float *given, float *query, int64_t first, int64_t last) {
    const int64_t own = 3 * p->size + p->read;
    for (int64_t row = first; row < last; row++) {
        const float *from = p->table + p->tokens[row] * p->columns;
        memcpy(given + row * own, from, own * sizeof(float));
        if (p->columns > own) memcpy(query + row * p->width, from + own, p->width * sizeof(float));
    }
}

/* tanh in place, as in functional.py. */
FOR_EACH_PROCESSOR void tanh_rows(float *x, int64_t columns, int64_t first, int64_t last) {
    for (int64_t i = first * columns; i < last * columns; i++) x[i] = hyperbolic_tangent(x[i]);
}

/* The log of each row's normaliser; then what is banned goes, for it has its share of the probability all the same. */
FOR_EACH_PROCESSOR void normalise_rows(const DecoderStep *p, float *normaliser, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        float *logits = p->logits + row * p->vocabulary;
        normaliser[row] = log_sum(logits, p->vocabulary);
        for (int64_t i = 0; i < p->bans; i++) logits[p->banned[i]] = -INFINITY;
    }
}

/* Log probabilities from the largest logits; a row with a logit that is no number has none. */
static void subtract_rows(const Largest *p, const float *normaliser, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++)
        for (int64_t i = 0; i < p->count; i++) {
            float *best = p->best + row * p->count + i;
            *best = normaliser[row] == normaliser[row] ? *best - normaliser[row] : -INFINITY;
        }
}

/* The best continuations of rows start .. start + rows, whose logits nobody else sees. */
static void best_of_block(
    const DecoderStep *p, const TileProduct *output, float *normaliser, int64_t start, int64_t part, int64_t parts
) {
    const int64_t rows = p->rows - start < p->block ? p->rows - start : p->block;
    const int64_t first = rows * part / parts, last = rows * (part + 1) / parts;
    TileProduct product = *output;
    product.rows = rows, product.x = (const float *)output->x + start * output->inputs;
    const Largest largest = {
        .rows = rows, .columns = p->vocabulary, .count = p->count, .x = p->logits, .best = p->best + start * p->count,
        .places = p->places + start * p->count,
    };
    tile_part(&product, 0, part, parts);
#pragma omp barrier
    normalise_rows(p, normaliser + start, first, last);
    largest_rows(&largest, 0, first, last);
    subtract_rows(&largest, normaliser + start, first, last);
#pragma omp barrier
}

void decoder_step(const DecoderStep *p, int64_t t) {
    const int64_t rows = p->rows, size = p->size, width = p->width, own = 3 * size + p->read;
    float *recurrent = p->scratch, *given = recurrent + rows * (width + 3 * size), *query = given + rows * own;
    float *queries = query + rows * width, *contexts = queries + rows * width, *terms = contexts + rows * p->context;
    float *states = terms + rows * own, *gates = states + 2 * rows * size, *inner = gates + 3 * rows * size;
    float *read = inner + rows * size, *normaliser = read + rows * p->read;
    uint16_t *narrow_state = p->narrowed, *narrow_context = narrow_state + rows * size;
    uint16_t *narrow_output = narrow_context + rows * p->context, *narrow_read = narrow_output + rows * size;
    const TileProduct from_state = product(
        p, p->state, size, p->from_state, width + 3 * size, p->state_bias, 0, narrow_state, recurrent
    );
    const TileProduct from_context = product(
        p, contexts, p->context, p->from_context, own, given, own, narrow_context, terms
    );
    const TileProduct from_output = product(p, states + rows * size, size, p->from_output, p->read, terms + 3 * size, own,
                                      narrow_output, read);
    const TileProduct output = product(p, read, p->read, p->output, p->vocabulary, p->output_bias, 0, narrow_read,
                                       p->logits);
    const Attention attention = {
        .batch = rows, .length = p->length, .width = width, .context = p->context, .hypotheses = p->hypotheses,
        .products = width + 3 * size, .lengths = p->lengths, .keys = p->keys, .values = p->values, .v = p->v,
        .from_state = recurrent, .query_terms = p->columns > own ? query : 0, .queries = queries,
        .weights = p->weights, .contexts = contexts,
    };
    const Recurrence gru = {
        .directions = 1, .batch = rows, .size = size, .products = width + 3 * size, .x_row = own, .x = terms,
        .from_state = recurrent, .states = states, .gates = gates, .inner = inner, .steps = 1,
    };
    (void)t;
#pragma omp parallel num_threads((int)p->threads) if (p->threads > 1)
    {
        const int64_t parts = omp_get_num_threads(), part = omp_get_thread_num();
        const int64_t first = rows * part / parts, last = rows * (part + 1) / parts;
        look_up(p, given, query, first, last);
        memcpy(states + first * size, p->state + first * size, (last - first) * size * sizeof(float));
        tile_part(&from_state, 0, part, parts);
#pragma omp barrier
        attend_forward_rows(&attention, 0, first, last);
        tile_part(&from_context, 0, part, parts);
#pragma omp barrier
        gru_forward_rows(&gru, 0, first, last);
        memcpy(p->next + first * size, states + (rows + first) * size, (last - first) * size * sizeof(float));
        tile_part(&from_output, 0, part, parts);
#pragma omp barrier
        tanh_rows(read, p->read, first, last);
        if (!p->count) tile_part(&output, 0, part, parts);
#pragma omp barrier
        for (int64_t start = 0; p->count && start < rows; start += p->block)
            best_of_block(p, &output, normaliser, start, part, parts);
    }
}
