/* A step of the decoder on a CPU: one column for each of some lanes, from tokens to logits, in one call.
 *
 * A lane is a segment of a stream; its rows are the conditional one and, with guidance, the null one. Weights are floats, or have four
 * or eight bits in blocks that share a scale, as ONNX Runtime's MatMulNBits reads them; for the latter a row's activations are rounded
 * to eight bits, block by block, as that operator does, so that no row hears another. Caches are floats, or have eight bits and a scale
 * a channel, as its GroupQueryAttention has them. So the step reads what the exported graphs read and write, and either can go on from
 * the other.
 *
 * What is gained over the graphs: weights are read once for all rows, eight outputs at a time, so that products of 16 bits are summed
 * before they are widened and nothing is summed across; caches of eight bits are never turned into floats as a whole; a layer is six
 * barriers instead of 34 operators.
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Four products of bytes, one side without a sign, and their sum. By hand only to test what is done with it. */
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define VNNI 1
#define DOT(sum, u, s) _mm256_dpbusd_epi32(sum, u, s)
#elif defined(__AVXVNNI__)
#define VNNI 1
#define DOT(sum, u, s) _mm256_dpbusd_avx_epi32(sum, u, s)
#elif defined(VNNI_BY_HAND)
#define VNNI 1
static inline __m256i DOT(__m256i sum, __m256i u, __m256i s) {
    __m256i low = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(u)), _mm256_cvtepi8_epi16(_mm256_castsi256_si128(s)));
    __m256i high =
        _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(u, 1)), _mm256_cvtepi8_epi16(_mm256_extracti128_si256(s, 1)));
    return _mm256_add_epi32(sum, _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8));
}
#else
#define VNNI 0
#endif

#define ALWAYS static inline __attribute__((always_inline))

enum {
    ROWS = 32,       /* of a call */
    TILE = 4,        /* rows that share a read of the weights from the first cache */
    BESIDE = 8,      /* outputs of a product, beside each other */
    FLOATS = 32,     /* the bits of one, */
    HALVES = 16,     /* and of half of one */
    GROUPS = 4,      /* of outputs of a product in floats, that are summed together, */
    PAIR = 2,        /* for so many rows: as many sums as hide how long one takes */
    MOST_BLOCK = 128,
    LEAST_BLOCK = 16,
    MOST_HEAD = 128,
    LINE = 64,       /* bytes that come together */
    AHEAD = 4096,    /* bytes that are asked for before they are read */
    PIECES = 4,      /* of a thread's share of a product */
    SPINS = 2000     /* looks at a barrier before the core is offered to others */
};

/* As it is stored: packed [outputs, blocks, block bits / 8] with half of the range as zero, scales [outputs, blocks]; of floats packed
 * [outputs, inputs] alone. As it is laid for a step: eight outputs beside each other, [outputs / 8, blocks, ...]; see `cuestream_lay`. */
typedef struct {
    const uint8_t *packed;
    const float *scales;
    int32_t inputs, outputs, bits, block;
} matrix;

typedef struct {
    const float *weight, *bias; /* [D] */
} norm;

typedef struct {
    norm before_self, before_cross, before_feed;
    matrix qkv, self_out, cross_query, cross_out, up, down;
    const float *null_keys, *null_values;     /* [H, P, d], none without guidance */
    const float *heard_keys, *heard_values;   /* [H, d]: scales of the self-attention's caches; ones where they are floats */
    const float *seen_keys, *seen_values;     /* [H, d]: scales of the condition's */
} layer;

typedef struct {
    int32_t layers, width, heads, head, hidden, codebooks, card, null_tokens, rows, columns;
    int32_t heard_bits, seen_bits; /* of caches and conditions: 8, or 32 of floats */
    float scale; /* of the self-attention's scores; the cross-attention's is in its weights */
    float epsilon;
    const float *embedding; /* [K (card + 1), D] */
    const float *positions; /* [columns, D] */
    norm last;
    matrix logits;
    const layer *each;
} model;

/* A segment of a stream. keys, values, ... : one address a layer; caches [R, H, room, d], conditions [H, space, d]. */
typedef struct {
    char *const *keys, *const *values;
    const char *const *seen_keys, *const *seen_values;
    const int64_t *tokens; /* [K] */
    float *logits;         /* [R, K, card] */
    int32_t position, room, held, space;
} lane;

/* What the first thread's time goes to. */
enum { OTHER, NORMS, PRODUCTS, HEARING, SEEING, WAITING, PARTS };

/* ---- a team of threads ---- */

typedef struct step step;

/* A helper asks to be let in when it has woken up, is chosen at a door, and is in when the others are behind that door. */
enum { AWAY, ASKING, CHOSEN, IN, NO_DOOR = -1 };

typedef struct {
    step *of;
    int number;
    pthread_t thread;
    atomic_int standing;
} member;

struct step {
    model model;
    int threads, lanes;
    const lane *lane;
    /* the team; what is looked at while waiting has a line of its own */
    _Alignas(64) atomic_int arrived;
    atomic_int phase;
    int present; /* whom a meeting waits for: changed where everybody has arrived */
    int layer;   /* that who is let in begins with */
    _Alignas(64) atomic_int *taken; /* [layers TURNS + 1] */
    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t called;
    unsigned call;
    bool open, leave;
    _Alignas(64) atomic_int asking;
    member *members;
    /* rows' numbers */
    float *x, *qkv, *mixed, *wide; /* [ROWS, D], [ROWS, 3 D], [ROWS, D], [ROWS, hidden] */
    /* each thread's own: rounding all rows takes less than waiting for who rounds them */
    int8_t *levels;         /* [threads, ROWS, most inputs] */
    float *scales;          /* [threads, ROWS, most blocks] */
    int32_t *shifts;        /* the same */
    float *plain;           /* [threads, ROWS, most inputs]: rows of products in floats, which are not rounded */
    float *fresh;           /* [threads, D] */
    float *scores;          /* [threads, most columns] */
    int most_inputs, most_blocks, most_scores;
    float ones[MOST_HEAD];
    double spent[PARTS], since; /* seconds */
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a thread did since the last lap. */
static void lap(step *s, int number, int part) {
    if (number) return;
    double then = now();
    s->spent[part] += then - s->since;
    s->since = then;
}

/* Looks at what `of` holds until it is not `value` any more. */
static int await(atomic_int *of, int value) {
    int now;
    for (int i = 0; (now = atomic_load_explicit(of, memory_order_acquire)) == value; i++)
        if (i < SPINS) _mm_pause();
        else sched_yield();
    return now;
}

/* Those who have asked by now, marked. */
static int choose(step *s) {
    int chosen = 0;
    pthread_mutex_lock(&s->lock);
    for (int i = 1; i < s->threads; i++)
        if (s->members[i].standing == ASKING) {
            s->members[i].standing = CHOSEN;
            chosen++;
        }
    s->asking = 0;
    pthread_mutex_unlock(&s->lock);
    return chosen;
}

/* Wait for each other. layer: a door as well, at which helpers who woke up meanwhile are let in to that layer; or NO_DOOR. The first
 * thread waits for nobody who is not in: another core takes its time to wake up, and may not be there at all. */
static void meet(step *s, int number, int layer) {
    int phase = atomic_load_explicit(&s->phase, memory_order_acquire), others = s->present - 1;
    if (atomic_fetch_add_explicit(&s->arrived, 1, memory_order_acq_rel) == others) {
        int chosen = layer != NO_DOOR && atomic_load_explicit(&s->asking, memory_order_relaxed) ? choose(s) : 0;
        s->present += chosen;
        s->layer = layer;
        atomic_store_explicit(&s->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&s->phase, (int)((unsigned)phase + 1), memory_order_release);
        for (int i = 1; chosen && i < s->threads; i++)
            if (s->members[i].standing == CHOSEN) atomic_store_explicit(&s->members[i].standing, IN, memory_order_release);
    } else await(&s->phase, phase);
    lap(s, number, WAITING);
}

/* Work that any thread takes, piece by piece, so that a slow one holds nobody up: each turn of a step counts what is taken. */
enum { HEADS_HEAR, SELF_OUT, HEADS_SEE, CROSS_OUT, UP, DOWN, TURNS };

static int take(step *s, int turn, int count) {
    return atomic_fetch_add_explicit(&s->taken[turn], count, memory_order_relaxed);
}

/* ---- eight numbers at once ---- */

static inline float sum8(__m256 v) {
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

static inline float max8(__m256 v) {
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

static inline __m256 magnitude(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

/* e^v for v from -87 to 88, to 2e-7 of it: 2^n times a polynomial of what is left, |r| <= ln 2 / 2. */
static inline __m256 exp8(__m256 v) {
    v = _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-87.0f)), _mm256_set1_ps(88.0f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.44269504f)), 8);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145752f), v);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860677e-6f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

/* v (1 + erf(v / sqrt 2)) / 2; erf by Abramowitz and Stegun 7.1.26, to 1.5e-7. */
static inline __m256 gelu8(__m256 v) {
    __m256 z = _mm256_mul_ps(magnitude(v), _mm256_set1_ps(0.70710678f));
    __m256 t = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_fmadd_ps(z, _mm256_set1_ps(0.3275911f), _mm256_set1_ps(1.0f)));
    __m256 p = _mm256_set1_ps(1.061405429f);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-1.453152027f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(1.421413741f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-0.284496736f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.254829592f));
    __m256 tail = _mm256_mul_ps(_mm256_mul_ps(p, t), exp8(_mm256_fnmadd_ps(z, z, _mm256_setzero_ps())));
    __m256 erf = _mm256_or_ps(_mm256_sub_ps(_mm256_set1_ps(1.0f), tail), _mm256_and_ps(v, _mm256_set1_ps(-0.0f)));
    __m256 half = _mm256_mul_ps(v, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(half, erf, half);
}

/* ---- activations in eight bits ---- */

/* What stands for zero in the laid weights. Eight bits have a sign there, but for VNNI, whose one side has none. */
static inline int zero_of(const matrix *m) { return m->bits == 4 ? 8 : VNNI ? 128 : 0; }

/* One block of a row, v [count], which is filled up with zeros to the block. shift: what a product with it begins at. */
static void round_block(const matrix *m, const float *v, int count, int8_t *levels, float *scale, int32_t *shift) {
    __m256 largest = _mm256_setzero_ps();
    int i = 0;
    for (; i + 8 <= count; i += 8) largest = _mm256_max_ps(largest, magnitude(_mm256_loadu_ps(v + i)));
    float most = max8(largest);
    for (; i < count; i++) most = fmaxf(most, fabsf(v[i]));
    float into = most > 0 ? 127.0f / most : 0.0f;
    int sum = 0;
    const __m256 factor = _mm256_set1_ps(into);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i sums = _mm256_setzero_si256();
    for (i = 0; i + 32 <= count; i += 32) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(v + i), factor));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(v + i + 8), factor));
        __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(v + i + 16), factor));
        __m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(v + i + 24), factor));
        sums = _mm256_add_epi32(sums, _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        _mm256_storeu_si256((__m256i *)(levels + i), _mm256_permutevar8x32_epi32(bytes, order));
    }
    int parts[8];
    _mm256_storeu_si256((__m256i *)parts, sums);
    for (int j = 0; j < 8; j++) sum += parts[j];
    for (; i < count; i++) sum += levels[i] = (int8_t)lrintf(v[i] * into);
    for (; i < m->block; i++) levels[i] = 0;
    *scale = most / 127.0f;
    *shift = -sum * zero_of(m);
}

static int blocks_of(const matrix *m) { return (m->inputs + m->block - 1) / m->block; }

/* Where a thread has a row's levels or floats, scales and shifts. */
static size_t levels_of(const step *s, int number, int row) { return ((size_t)number * ROWS + row) * s->most_inputs; }
static size_t blocks_at(const step *s, int number, int row) { return ((size_t)number * ROWS + row) * s->most_blocks; }

/* A row v [inputs] for a product by m. */
static void round_blocks(const matrix *m, const float *v, int8_t *levels, float *scales, int32_t *shifts) {
    for (int first = 0; first < m->inputs; first += m->block) {
        int count = m->inputs - first < m->block ? m->inputs - first : m->block;
        round_block(m, v + first, count, levels + first, scales++, shifts++);
    }
}

static void round_row(step *s, int number, const matrix *m, int row, const float *v) {
    size_t at = blocks_at(s, number, row);
    if (m->bits >= HALVES) memcpy(s->plain + levels_of(s, number, row), v, sizeof(float) * m->inputs);
    else round_blocks(m, v, s->levels + levels_of(s, number, row), s->scales + at, s->shifts + at);
}

static int rows_of(const step *s) { return s->lanes * s->model.rows; }

static void round_rows(step *s, int number, const matrix *m, const float *rows, int apart) {
    for (int row = 0; row < rows_of(s); row++) round_row(s, number, m, row, rows + (size_t)row * apart);
    lap(s, number, NORMS);
}

static void normalise(const model *m, const norm *by, const float *x, float *to) {
    __m256 sum = _mm256_setzero_ps(), square = _mm256_setzero_ps();
    for (int i = 0; i < m->width; i += 8) sum = _mm256_add_ps(sum, _mm256_loadu_ps(x + i));
    float mean = sum8(sum) / (float)m->width;
    for (int i = 0; i < m->width; i += 8) {
        __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(mean));
        square = _mm256_fmadd_ps(d, d, square);
    }
    __m256 over = _mm256_set1_ps(1.0f / sqrtf(sum8(square) / (float)m->width + m->epsilon));
    for (int i = 0; i < m->width; i += 8) {
        __m256 d = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(mean)), over);
        _mm256_storeu_ps(to + i, _mm256_fmadd_ps(d, _mm256_loadu_ps(by->weight + i), _mm256_loadu_ps(by->bias + i)));
    }
}

/* The norm of each row of x, for a product by m. */
static void normalise_rows(step *s, int number, const norm *by, const matrix *m) {
    float *fresh = s->fresh + (size_t)number * s->model.width;
    for (int row = 0; row < rows_of(s); row++) {
        normalise(&s->model, by, s->x + (size_t)row * s->model.width, fresh);
        round_row(s, number, m, row, fresh);
    }
    lap(s, number, NORMS);
}

/* ---- products ---- */

typedef struct {
    const int8_t *levels;
    const float *scales;
    const int32_t *shifts;
} row;

#define EACH for (int r = 0; r < count; r++)

/* Four levels of a row, for each of eight outputs. */
static inline __m256i four(const int8_t *levels) {
    int32_t all;
    memcpy(&all, levels, sizeof(all));
    return _mm256_set1_epi32(all);
}

/* Eight outputs of `count` rows from a block's sums: all of them have the block's scales, and the row's. */
ALWAYS __m256 scaled(__m256i sums, const float *scales, const float *of_row, __m256 so_far) {
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(_mm256_loadu_ps(scales), _mm256_broadcast_ss(of_row)), so_far);
}

/* Weights of four bits, `each` times 32 bytes a block: eight inputs, the first four in the low halves. Four of them make eight products
 * of at most 2 x 15 x 127, which stay within 16 bits. */
ALWAYS void outputs4(const uint8_t *w, const float *scales, int blocks, const int each, const row *rows, const int count, __m256 *sums) {
    const __m256i low = _mm256_set1_epi8(15);
    const int together = each < 4 ? each : 4;
    EACH sums[r] = _mm256_setzero_ps();
    for (int b = 0, k = 0; b < blocks; b++, scales += BESIDE) {
        __m256i wide[TILE];
        EACH wide[r] = _mm256_set1_epi32(rows[r].shifts[b]);
        for (int c = 0; c < each; c += together) {
#if !VNNI
            __m256i some[TILE];
            EACH some[r] = _mm256_setzero_si256();
#endif
            for (int i = 0; i < together; i++, k += 8, w += 32) {
                _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
                __m256i both = _mm256_loadu_si256((const __m256i *)w);
                __m256i w0 = _mm256_and_si256(both, low), w1 = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
#if VNNI
                EACH wide[r] = DOT(DOT(wide[r], w0, four(rows[r].levels + k)), w1, four(rows[r].levels + k + 4));
#else
                EACH some[r] = _mm256_add_epi16(some[r], _mm256_maddubs_epi16(w0, four(rows[r].levels + k)));
                EACH some[r] = _mm256_add_epi16(some[r], _mm256_maddubs_epi16(w1, four(rows[r].levels + k + 4)));
#endif
            }
#if !VNNI
            EACH wide[r] = _mm256_add_epi32(wide[r], _mm256_madd_epi16(some[r], _mm256_set1_epi16(1)));
#endif
        }
        EACH sums[r] = scaled(wide[r], scales, rows[r].scales + b, sums[r]);
    }
}

/* The same of eight bits, four inputs each. Without VNNI the weights' signs are given to the levels. */
ALWAYS void outputs8(const uint8_t *w, const float *scales, int blocks, const int each, const row *rows, const int count, __m256 *sums) {
    EACH sums[r] = _mm256_setzero_ps();
    for (int b = 0, k = 0; b < blocks; b++, scales += BESIDE) {
        __m256i wide[TILE];
        EACH wide[r] = _mm256_set1_epi32(rows[r].shifts[b]);
        for (int c = 0; c < each; c++, k += 4, w += 32) {
            _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
            __m256i own = _mm256_loadu_si256((const __m256i *)w);
#if VNNI
            EACH wide[r] = DOT(wide[r], own, four(rows[r].levels + k));
#else
            __m256i size = _mm256_abs_epi8(own);
            EACH {
                __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(four(rows[r].levels + k), own));
                wide[r] = _mm256_add_epi32(wide[r], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
#endif
        }
        EACH sums[r] = scaled(wide[r], scales, rows[r].scales + b, sums[r]);
    }
}

ALWAYS void outputs_of(const matrix *m, int at, const row *rows, const int count, __m256 *sums) {
    int blocks = blocks_of(m);
    const uint8_t *w = m->packed + (size_t)at * blocks * (m->block * m->bits / 8);
    const float *scales = m->scales + (size_t)at * blocks;
    if (m->bits == 4 && m->block == MOST_BLOCK) outputs4(w, scales, blocks, MOST_BLOCK / 8, rows, count, sums);
    else if (m->bits == 4) outputs4(w, scales, blocks, m->block / 8, rows, count, sums);
    else outputs8(w, scales, blocks, m->block / 4, rows, count, sums);
}

/* Outputs from `at` on, eight of them, of one to four rows. */
static void outputs(const matrix *m, int at, const row *rows, int count, __m256 *sums) {
    switch (count) {
        case 1: outputs_of(m, at, rows, 1, sums); break;
        case 2: outputs_of(m, at, rows, 2, sums); break;
        case 3: outputs_of(m, at, rows, 3, sums); break;
        default: outputs_of(m, at, rows, TILE, sums);
    }
}

/* Eight weights, of 32 bits or of 16. */
ALWAYS __m256 floats(const uint8_t *w, const int bits) {
    return bits == FLOATS ? _mm256_loadu_ps((const float *)w) : _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
}

/* `groups` times eight outputs of `count` rows, of a matrix of floats: each output is summed input by input, whatever is beside it.
 * What is asked for ahead are the outputs behind these. */
ALWAYS void sum_floats(const uint8_t *w, int inputs, const int bits, const float *const *rows, const int count, const int groups,
                       __m256 sums[][GROUPS]) {
    size_t apart = (size_t)inputs * bits;
    __m256 so_far[PAIR][GROUPS]; /* in registers, as what is reached by a pointer is not */
    EACH for (int g = 0; g < groups; g++) so_far[r][g] = _mm256_setzero_ps();
    for (int k = 0; k < inputs; w += LINE) {
        for (int g = 0; g < groups; g++) _mm_prefetch((const char *)w + (groups + g) * apart, _MM_HINT_T0);
        for (int i = 0; i < LINE; i += bits, k++) {
            __m256 own[GROUPS];
            for (int g = 0; g < groups; g++) own[g] = floats(w + g * apart + i, bits);
            EACH for (int g = 0; g < groups; g++) so_far[r][g] = _mm256_fmadd_ps(_mm256_broadcast_ss(rows[r] + k), own[g], so_far[r][g]);
        }
    }
    EACH for (int g = 0; g < groups; g++) sums[r][g] = so_far[r][g];
}

ALWAYS void groups_of(const matrix *m, int at, const float *const *rows, int count, const int groups, __m256 sums[][GROUPS]) {
    const uint8_t *w = m->packed + (size_t)at * m->inputs * (m->bits / 8);
    if (m->bits == FLOATS && count == PAIR) sum_floats(w, m->inputs, FLOATS, rows, PAIR, groups, sums);
    else if (m->bits == FLOATS) sum_floats(w, m->inputs, FLOATS, rows, 1, groups, sums);
    else if (count == PAIR) sum_floats(w, m->inputs, HALVES, rows, PAIR, groups, sums);
    else sum_floats(w, m->inputs, HALVES, rows, 1, groups, sums);
}

/* Outputs from `at` on and before `end`, of one row or two. How many groups of eight they are. */
static int outputs_plain(const matrix *m, int at, int end, const float *const *rows, int count, __m256 sums[][GROUPS]) {
    if (end - at >= GROUPS * BESIDE) return groups_of(m, at, rows, count, GROUPS, sums), GROUPS;
    if (end - at >= 2 * BESIDE) return groups_of(m, at, rows, count, 2, sums), 2;
    return groups_of(m, at, rows, count, 1, sums), 1;
}

static float float_of(const matrix *stored, size_t at) {
    if (stored->bits == FLOATS) return ((const float *)stored->packed)[at];
    return _cvtsh_ss(((const uint16_t *)stored->packed)[at]);
}

static int level_of(const matrix *stored, size_t block, int i) {
    const uint8_t *w = stored->packed + block * (stored->block * stored->bits / 8);
    return stored->bits == 8 ? w[i] : w[i / 2] >> (i % 2 * 4) & 15;
}

/* One output of one row, of a matrix as it is stored. */
static float output_stored(const matrix *stored, int output, const int8_t *levels, const float *scales) {
    int blocks = blocks_of(stored), zero = 1 << (stored->bits - 1);
    double sum = 0;
    for (int b = 0; b < blocks; b++) {
        size_t block = (size_t)output * blocks + b;
        int64_t whole = 0;
        for (int i = 0; i < stored->block; i++) whole += levels[b * stored->block + i] * (level_of(stored, block, i) - zero);
        sum += (double)whole * stored->scales[block] * scales[b];
    }
    return (float)sum;
}

static void put(float *to, __m256 sum, bool add) { _mm256_storeu_ps(to, add ? _mm256_add_ps(sum, _mm256_loadu_ps(to)) : sum); }

static void multiply_floats(step *s, int number, const matrix *m, int first, int end, float *to, int apart, bool add) {
    int all = rows_of(s);
    for (int at = first, done; at < end; at += done * BESIDE)
        for (int r = 0; r < all; r += PAIR) {
            int count = all - r < PAIR ? 1 : PAIR;
            const float *rows[PAIR] = {s->plain + levels_of(s, number, r), s->plain + levels_of(s, number, r + count - 1)};
            __m256 sums[PAIR][GROUPS];
            done = outputs_plain(m, at, end, rows, count, sums);
            for (int i = 0; i < count; i++)
                for (int g = 0; g < done; g++) put(to + (size_t)(r + i) * apart + at + g * BESIDE, sums[i][g], add);
        }
}

static void multiply_levels(step *s, int number, const matrix *m, int first, int end, float *to, int apart, bool add) {
    int all = rows_of(s);
    row rows[ROWS];
    for (int r = 0; r < all; r++)
        rows[r] = (row){s->levels + levels_of(s, number, r), s->scales + blocks_at(s, number, r),
                        s->shifts + blocks_at(s, number, r)};
    for (int at = first; at < end; at += BESIDE)
        for (int r = 0; r < all; r += TILE) {
            int count = all - r < TILE ? all - r : TILE;
            __m256 sums[TILE];
            outputs(m, at, rows + r, count, sums);
            for (int i = 0; i < count; i++) put(to + (size_t)(r + i) * apart + at, sums[i], add);
        }
}

/* Outputs from `first` to before `end` of the rows that this thread rounded, put to (or added to) to[row][output]. */
static void multiply(step *s, int number, const matrix *m, int first, int end, float *to, int apart, bool add) {
    (m->bits >= HALVES ? multiply_floats : multiply_levels)(s, number, m, first, end, to, apart, add);
    lap(s, number, PRODUCTS);
}

/* ---- attention ---- */

/* Where element `at` of a cache lies, and eight elements from there on as floats. */
ALWAYS const char *place(const char *of, size_t at, const int bits) { return of + at * (bits / 8); }

ALWAYS __m256 eight(const char *of, size_t at, const int bits) {
    if (bits == FLOATS) return _mm256_loadu_ps((const float *)of + at);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(of + at))));
}

ALWAYS void ask_ahead(const char *of, int bytes) {
    for (int i = 0; i < bytes; i += LINE) _mm_prefetch(of + AHEAD + i, _MM_HINT_T0);
}

/* Of one key [d]: eight sums that have to be added. */
ALWAYS __m256 meet_key(const __m256 *query, const char *key, const int head, const int bits) {
    __m256 sum = _mm256_setzero_ps();
    for (int i = 0; i < head / 8; i++) sum = _mm256_fmadd_ps(eight(key, 8 * i, bits), query[i], sum);
    return sum;
}

/* Scores of a query, with the scales of the keys in it, against keys [columns, d]; the largest of them. The query stays in floats:
 * in 16 bits, which were no quicker, what comes of it lies often enough on the other side of a rounding to move logits by 1 %. */
ALWAYS float score_keys(const float *query, const char *keys, int columns, const int head, const int bits, float *scores) {
    __m256 q[MOST_HEAD / 8], largest = _mm256_set1_ps(-INFINITY);
    for (int i = 0; i < head / 8; i++) q[i] = _mm256_loadu_ps(query + 8 * i);
    int c = 0;
    for (; c + 8 <= columns; c += 8) {
        __m256 sums[8];
        for (int j = 0; j < 8; j++) {
            const char *key = place(keys, (size_t)(c + j) * head, bits);
            ask_ahead(key, head * bits / 8);
            sums[j] = meet_key(q, key, head, bits);
        }
        __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
        __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(sums[4], sums[5]), _mm256_hadd_ps(sums[6], sums[7]));
        __m256 all = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
        largest = _mm256_max_ps(largest, all);
        _mm256_storeu_ps(scores + c, all);
    }
    float best = max8(largest);
    for (; c < columns; c++) {
        scores[c] = sum8(meet_key(q, place(keys, (size_t)c * head, bits), head, bits));
        best = fmaxf(best, scores[c]);
    }
    return best;
}

/* Chances that do not sum to one, in place of scores; what they sum to. scores has room for eight more. */
static float chances(float *scores, int columns, float best) {
    for (int c = columns; c % 8; c++) scores[c] = -INFINITY;
    __m256 sum = _mm256_setzero_ps();
    for (int c = 0; c < columns; c += 8) {
        __m256 v = _mm256_sub_ps(_mm256_loadu_ps(scores + c), _mm256_set1_ps(best));
        __m256 p = _mm256_and_ps(exp8(v), _mm256_cmp_ps(v, _mm256_set1_ps(-87.0f), _CMP_GE_OQ));
        sum = _mm256_add_ps(sum, p);
        _mm256_storeu_ps(scores + c, p);
    }
    return sum8(sum);
}

/* answer [d] = chances . values [columns, d] x scales [d] / whole */
ALWAYS void mix_values(const float *chance, const char *values, int columns, const int head, const int bits, const float *scales,
                       float whole, float *answer) {
    __m256 sums[MOST_HEAD / 8];
    for (int i = 0; i < head / 8; i++) sums[i] = _mm256_setzero_ps();
    for (int c = 0; c < columns; c++) {
        const char *value = place(values, (size_t)c * head, bits);
        ask_ahead(value, head * bits / 8);
        __m256 p = _mm256_broadcast_ss(chance + c);
        for (int i = 0; i < head / 8; i++) sums[i] = _mm256_fmadd_ps(eight(value, 8 * i, bits), p, sums[i]);
    }
    __m256 over = _mm256_set1_ps(columns ? 1.0f / whole : 0.0f); /* without a picture there is no answer */
    for (int i = 0; i < head / 8; i++)
        _mm256_storeu_ps(answer + 8 * i, _mm256_mul_ps(_mm256_mul_ps(sums[i], over), _mm256_loadu_ps(scales + 8 * i)));
}

/* What is read of a cache: keys and values [columns, d], their bits, and the scales [d] of the values. */
typedef struct {
    const char *keys, *values;
    int columns, bits;
    const float *scales;
} memory;

ALWAYS void attend_sized(const float *query, const memory *of, const int head, const int bits, float *scores, float *answer) {
    float best = score_keys(query, of->keys, of->columns, head, bits, scores);
    float whole = chances(scores, of->columns, best);
    mix_values(scores, of->values, of->columns, head, bits, of->scales, whole, answer);
}

/* Heads that models have are compiled with their width. */
static void attend(const float *query, const memory *of, int head, float *scores, float *answer) {
    if (of->bits == FLOATS) {
        if (head == 64) attend_sized(query, of, 64, FLOATS, scores, answer);
        else if (head == 48) attend_sized(query, of, 48, FLOATS, scores, answer);
        else attend_sized(query, of, head, FLOATS, scores, answer);
    } else if (head == 64) attend_sized(query, of, 64, 8, scores, answer);
    else attend_sized(query, of, head, 8, scores, answer);
}

static void keep(const float *fresh, const float *scales, int head, int bits, char *to) {
    if (bits == FLOATS) memcpy(to, fresh, sizeof(float) * head);
    else
        for (int i = 0; i < head; i++) to[i] = (int8_t)lrintf(fminf(fmaxf(fresh[i] / scales[i], -128.0f), 127.0f));
}

static void hear(step *s, const layer *l, int at, int h, float *scores) {
    const model *m = &s->model;
    int d = m->head, bits = m->heard_bits;
    for (int n = 0; n < s->lanes; n++)
        for (int r = 0; r < m->rows; r++) {
            const lane *one = s->lane + n;
            size_t row = (size_t)n * m->rows + r, first = ((size_t)r * m->heads + h) * one->room * d;
            size_t element = bits / 8, next = (size_t)one->position * d * element;
            char *keys = one->keys[at] + first * element, *values = one->values[at] + first * element;
            const float *q = s->qkv + row * 3 * m->width + (size_t)h * d;
            keep(q + m->width, l->heard_keys + h * d, d, bits, keys + next);
            keep(q + 2 * m->width, l->heard_values + h * d, d, bits, values + next);
            float query[MOST_HEAD];
            for (int i = 0; i < d; i++) query[i] = q[i] * m->scale * l->heard_keys[h * d + i];
            memory heard = {keys, values, one->position + 1, bits, l->heard_values + h * d};
            attend(query, &heard, d, scores, s->mixed + row * m->width + (size_t)h * d);
        }
}

static void see(step *s, const layer *l, int at, int h, float *scores) {
    const model *m = &s->model;
    int d = m->head, bits = m->seen_bits;
    for (int n = 0; n < s->lanes; n++) {
        const lane *one = s->lane + n;
        size_t row = (size_t)n * m->rows, first = (size_t)h * one->space * d;
        const float *q = s->qkv + row * 3 * m->width + (size_t)h * d;
        float *to = s->mixed + row * m->width + (size_t)h * d, query[MOST_HEAD];
        for (int i = 0; i < d; i++) query[i] = q[i] * l->seen_keys[h * d + i];
        memory seen = {place(one->seen_keys[at], first, bits), place(one->seen_values[at], first, bits), one->held, bits,
                       l->seen_values + h * d};
        attend(query, &seen, d, scores, to);
        if (m->rows == 2) {
            size_t null = (size_t)h * m->null_tokens * d;
            memory none = {(const char *)(l->null_keys + null), (const char *)(l->null_values + null), m->null_tokens, FLOATS, s->ones};
            attend(q + 3 * m->width, &none, d, scores, to + m->width);
        }
    }
}

/* ---- a step ---- */

static void begin(step *s) {
    const model *m = &s->model;
    for (int n = 0; n < s->lanes; n++) {
        float *x = s->x + (size_t)n * m->rows * m->width;
        memcpy(x, m->positions + (size_t)s->lane[n].position * m->width, sizeof(float) * m->width);
        for (int k = 0; k < m->codebooks; k++) {
            const float *of = m->embedding + ((size_t)k * (m->card + 1) + s->lane[n].tokens[k]) * m->width;
            for (int i = 0; i < m->width; i++) x[i] += of[i];
        }
        if (m->rows == 2) memcpy(x + m->width, x, sizeof(float) * m->width);
    }
    meet(s, 0, 0);
}

/* The GELU of some channels of `wide`. */
static void bend(step *s, int number, int first, int end) {
    for (int r = 0; r < rows_of(s); r++)
        for (int i = first; i < end; i += 8) {
            float *v = s->wide + (size_t)r * s->model.hidden + i;
            _mm256_storeu_ps(v, gelu8(_mm256_loadu_ps(v)));
        }
    lap(s, number, OTHER);
}

/* A product of all rows by all of m, put to `to` or added to it; `bent`: through the GELU. door: see `meet`. */
static void spread(step *s, int number, int turn, const matrix *m, float *to, bool add, bool bent, int door) {
    int least = m->bits >= HALVES ? GROUPS * BESIDE : BESIDE;
    int piece = (m->outputs / (s->threads * PIECES) / least + 1) * least;
    for (int first; (first = take(s, turn, piece)) < m->outputs;) {
        int end = first + piece < m->outputs ? first + piece : m->outputs;
        multiply(s, number, m, first, end, to, m->outputs, add);
        if (bent) bend(s, number, first, end);
    }
    meet(s, number, door);
}

static void pass(step *s, int number, const layer *l, int at) {
    const model *m = &s->model;
    int width = m->width, d = m->head, turn = at * TURNS;
    float *scores = s->scores + (size_t)number * s->most_scores;

    normalise_rows(s, number, &l->before_self, &l->qkv);
    for (int h; (h = take(s, turn + HEADS_HEAR, 1)) < m->heads;) {
        for (int first = h * d; first < 3 * width; first += width)
            multiply(s, number, &l->qkv, first, first + d, s->qkv, 3 * width, false);
        hear(s, l, at, h, scores);
        lap(s, number, HEARING);
    }
    meet(s, number, NO_DOOR);
    round_rows(s, number, &l->self_out, s->mixed, width);
    spread(s, number, turn + SELF_OUT, &l->self_out, s->x, true, false, NO_DOOR);

    normalise_rows(s, number, &l->before_cross, &l->cross_query);
    for (int h; (h = take(s, turn + HEADS_SEE, 1)) < m->heads;) {
        multiply(s, number, &l->cross_query, h * d, (h + 1) * d, s->qkv, 3 * width, false);
        see(s, l, at, h, scores);
        lap(s, number, SEEING);
    }
    meet(s, number, NO_DOOR);
    round_rows(s, number, &l->cross_out, s->mixed, width);
    spread(s, number, turn + CROSS_OUT, &l->cross_out, s->x, true, false, NO_DOOR);

    normalise_rows(s, number, &l->before_feed, &l->up);
    spread(s, number, turn + UP, &l->up, s->wide, false, true, NO_DOOR);
    round_rows(s, number, &l->down, s->wide, m->hidden);
    spread(s, number, turn + DOWN, &l->down, s->x, true, false, at + 1);
}

static void work(step *s, int number, int layer) {
    const model *m = &s->model;
    for (int at = layer; at < m->layers; at++) pass(s, number, m->each + at, at);
    normalise_rows(s, number, &m->last, &m->logits);
    spread(s, number, m->layers * TURNS, &m->logits, s->lane[0].logits, false, false, NO_DOOR);
}

static void *serve(void *argument) {
    member *me = argument;
    step *s = me->of;
    for (unsigned done = 0;;) {
        pthread_mutex_lock(&s->lock);
        while (s->call == done && !s->leave) pthread_cond_wait(&s->called, &s->lock);
        done = s->call;
        bool leave = s->leave;
        if (s->open) {
            me->standing = ASKING;
            s->asking++;
        }
        pthread_mutex_unlock(&s->lock);
        if (leave) return NULL;
        int standing = await(&me->standing, ASKING);
        if (standing == CHOSEN) standing = await(&me->standing, CHOSEN);
        if (standing == IN) work(s, me->number, s->layer);
        atomic_store(&me->standing, AWAY);
    }
}

/* Call the helpers, or send those away who are too late. */
static void call(step *s, bool open) {
    if (s->threads == 1) return;
    pthread_mutex_lock(&s->lock);
    s->open = open;
    s->call += open;
    s->asking = 0;
    if (open) pthread_cond_broadcast(&s->called);
    else
        for (int i = 1; i < s->threads; i++)
            if (s->members[i].standing == ASKING) s->members[i].standing = AWAY;
    pthread_mutex_unlock(&s->lock);
}

/* ---- what Python calls ---- */

static void *lines(size_t bytes) {
    void *room = aligned_alloc(64, (bytes + 255) / 64 * 64 + 64);
    if (room) memset(room, 0, bytes);
    return room;
}

/* Scores of as many tokens as a lane's condition has. */
static bool enough(step *s, const lane *lanes, int count) {
    int most = s->most_scores;
    for (int n = 0; n < count; n++)
        if (lanes[n].held + 64 > most) most = lanes[n].held + 64;
    if (most == s->most_scores) return true;
    float *scores = lines(sizeof(float) * s->threads * most);
    if (!scores) return false;
    free(s->scores);
    s->scores = scores;
    s->most_scores = most;
    return true;
}

/* Logits of all lanes lie behind one another. One call of a step at a time. False without memory. */
bool cuestream_step(step *s, const lane *lanes, int32_t count) {
    if (!enough(s, lanes, count)) return false;
    s->since = now();
    for (int i = 0; i <= s->model.layers * TURNS; i++) atomic_store_explicit(&s->taken[i], 0, memory_order_relaxed);
    s->lane = lanes;
    s->lanes = count;
    s->present = 1;
    call(s, true);
    begin(s);
    work(s, 0, 0);
    call(s, false);
    return true;
}

/* Seconds of the first thread since it began, by part. */
void cuestream_spent(const step *s, double *seconds) { memcpy(seconds, s->spent, sizeof(s->spent)); }

void cuestream_close(step *s) {
    if (s->threads > 1) {
        pthread_mutex_lock(&s->lock);
        s->leave = true;
        pthread_cond_broadcast(&s->called);
        pthread_mutex_unlock(&s->lock);
        for (int i = 1; i < s->threads; i++) pthread_join(s->members[i].thread, NULL);
    }
    free(s->members), free(s->taken);
    free(s->x), free(s->qkv), free(s->mixed), free(s->wide);
    free(s->levels), free(s->scales), free(s->shifts), free(s->plain), free(s->fresh), free(s->scores);
    free(s);
}

/* Whatever the model names stays where it is as long as this does. cores: where each thread but the caller's stays, or NULL.
 * NULL without memory or threads. */
step *cuestream_open(const model *m, int32_t threads, const int32_t *cores) {
    step *s = lines(sizeof(step));
    if (!s) return NULL;
    s->model = *m;
    s->threads = threads;
    int most = m->width > m->hidden ? m->width : m->hidden;
    s->most_inputs = most + MOST_BLOCK;
    s->most_blocks = most / LEAST_BLOCK + 8;
    s->most_scores = m->columns + m->null_tokens + 64;
    s->x = lines(sizeof(float) * ROWS * m->width);
    s->qkv = lines(sizeof(float) * ROWS * m->width * 3);
    s->mixed = lines(sizeof(float) * ROWS * m->width);
    s->wide = lines(sizeof(float) * ROWS * m->hidden);
    s->levels = lines((size_t)threads * ROWS * s->most_inputs);
    s->scales = lines(sizeof(float) * threads * ROWS * s->most_blocks);
    s->shifts = lines(sizeof(int32_t) * threads * ROWS * s->most_blocks);
    s->plain = lines(sizeof(float) * threads * ROWS * s->most_inputs);
    s->fresh = lines(sizeof(float) * threads * m->width);
    s->scores = lines(sizeof(float) * threads * s->most_scores);
    s->taken = lines(sizeof(atomic_int) * (m->layers * TURNS + 1));
    s->members = calloc(threads, sizeof(member));
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->called, NULL);
    for (int i = 0; i < MOST_HEAD; i++) s->ones[i] = 1;
    bool rows = s->x && s->qkv && s->mixed && s->wide && s->levels && s->scales && s->shifts;
    if (!rows || !s->plain || !s->fresh || !s->scores || !s->taken || !s->members) {
        s->threads = 1;
        cuestream_close(s);
        return NULL;
    }
    for (int i = 1; i < threads; i++) {
        s->members[i] = (member){.of = s, .number = i};
        if (pthread_create(&s->members[i].thread, NULL, serve, &s->members[i])) {
            s->threads = i;
            cuestream_close(s);
            return NULL;
        }
        if (cores) { /* a core that may not be used is no reason not to play */
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cores[i - 1], &one);
            pthread_setaffinity_np(s->members[i].thread, sizeof(one), &one);
        }
    }
    return s;
}

/* A stored matrix as a step reads it: packed and scales have as much room as the stored ones. Of four bits 32 bytes are eight outputs by
 * eight inputs, byte 4 o + j input j of output o in its low half and input 4 + j in its high half; of eight bits they are eight
 * outputs by four inputs, of floats by one. Scales are [outputs / 8, blocks, 8]. */
void cuestream_lay(const matrix *m, uint8_t *packed, float *scales) {
    if (m->bits >= HALVES) {
        size_t bytes = m->bits / 8;
        for (int at = 0; at < m->outputs; at += BESIDE)
            for (int i = 0; i < m->inputs; i++)
                for (int o = 0; o < BESIDE; o++, packed += bytes) memcpy(packed, m->packed + ((size_t)(at + o) * m->inputs + i) * bytes, bytes);
        return;
    }
    int blocks = blocks_of(m), deep = m->bits == 4 ? 8 : 4, flip = m->bits == 8 && !VNNI ? 128 : 0;
    for (int at = 0; at < m->outputs; at += BESIDE)
        for (int b = 0; b < blocks; b++) {
            for (int o = 0; o < BESIDE; o++) *scales++ = m->scales[(size_t)(at + o) * blocks + b];
            for (int i = 0; i < m->block; i += deep)
                for (int o = 0; o < BESIDE; o++)
                    for (int j = 0; j < 4; j++) {
                        size_t block = (size_t)(at + o) * blocks + b;
                        int level = level_of(m, block, i + j) ^ flip;
                        *packed++ = (uint8_t)(deep == 8 ? level | level_of(m, block, i + 4 + j) << 4 : level);
                    }
        }
}

/* Products of one row by a matrix: the quick way by the laid one, plainly by the stored one. Python compares them before it trusts the
 * build. */
void cuestream_check(const matrix *laid, const matrix *stored, const float *v, float *quick, float *plain) {
    if (laid->bits >= HALVES) {
        const float *rows[PAIR] = {v, v};
        __m256 sums[PAIR][GROUPS];
        for (int at = 0, done, count = 1; at < laid->outputs; at += done * BESIDE, count = PAIR + 1 - count) {
            done = outputs_plain(laid, at, laid->outputs, rows, count, sums);
            for (int g = 0; g < done; g++) _mm256_storeu_ps(quick + at + g * BESIDE, sums[count - 1][g]);
        }
        for (int at = 0; at < laid->outputs; at++) {
            double sum = 0;
            for (int i = 0; i < laid->inputs; i++) sum += (double)v[i] * float_of(stored, (size_t)at * laid->inputs + i);
            plain[at] = (float)sum;
        }
        return;
    }
    int blocks = blocks_of(laid);
    int8_t *levels = lines((size_t)blocks * laid->block);
    float *scales = lines(sizeof(float) * blocks);
    int32_t *shifts = lines(sizeof(int32_t) * blocks);
    round_blocks(laid, v, levels, scales, shifts);
    row rows[TILE];
    for (int r = 0; r < TILE; r++) rows[r] = (row){levels, scales, shifts};
    for (int at = 0; at < laid->outputs; at += BESIDE) {
        __m256 sums[TILE];
        outputs(laid, at, rows, at / BESIDE % TILE + 1, sums); /* each number of rows in turn; all of them are the same row */
        _mm256_storeu_ps(quick + at, sums[at / BESIDE % TILE]);
    }
    for (int at = 0; at < laid->outputs; at++) plain[at] = output_stored(stored, at, levels, scales);
    free(levels), free(scales), free(shifts);
}
