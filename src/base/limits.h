/*
 * limits.h - the limits that more than one folder or a format depends on; one of a single file
 * stands there. Sizes in bytes unless named otherwise.
 */
#ifndef HF_BASE_LIMITS_H
#define HF_BASE_LIMITS_H

/* Names and keys */
#define HF_NAME_MAX 63u		  /* contract, state, event, field and param names */
#define HF_KEY_MAX 255u		  /* entity keys; at least 1 */
#define HF_ID_MAX 255u		  /* idempotency ids; at least 1 */
#define HF_PLAIN_VALUE_MAX 65536u /* the value of a plain key */
#define HF_MGET_WHOLE_MAX 65536u  /* the values of one MGET, as of one instant */
#define HF_BYTES_MAX 64u	  /* N of a bytes(N) field or param */

/* Contracts */
#define HF_CONTRACT_TEXT_MAX 65536u
#define HF_CONTRACT_VERSION_MAX 9223372036854775807u /* signed on the wire */
#define HF_CONTRACTS_MAX 1024u	  /* contract texts (all versions) in one data directory */
#define HF_CONTRACT_BUCKETS 4096u /* of the look-ups by name and by ref: twice as many, or more */
#define HF_DIAGNOSTICS_MAX 64u	  /* that are kept of one compilation */
#define HF_STATES_MAX 1024u	  /* per contract */
#define HF_EVENTS_MAX 255u	  /* distinct event names per contract */
#define HF_FIELDS_MAX 64u
#define HF_PARAMS_MAX 32u /* per event */
#define HF_INVARIANTS_MAX 64u
#define HF_TRANSITIONS_MAX 4096u /* after composite and choice states are flattened */
#define HF_EXPR_DEPTH_MAX 64u	 /* nesting of an expression, and of composite states */
#define HF_CODE_MAX 65536u	 /* instructions of one contract */
#define HF_STACK_MAX 128u	 /* values on the expression stack */
#define HF_BLOCK_MAX 4352u	 /* an entity's field block */

/* The wire */
#define HF_ARGS_MAX 1024u		     /* strings of one command */
#define HF_BULK_MAX 131072u		     /* one string of a command */
#define HF_COMMAND_MAX 262144u		     /* one command */
#define HF_INLINE_MAX 65536u		     /* one inline command line */
#define HF_CONNECTION_OUTPUT_PAUSE 1048576u  /* unread replies at which we stop reading */
#define HF_CONNECTION_OUTPUT_SQUEEZED 65536u /* ... with half of the clients' memory used */
#define HF_TURN_SLOW_BYTES 16384u	     /* slow commands and their replies, in one turn */
#define HF_CONNECTIONS_DEFAULT 10000u
#define HF_CONNECTIONS_MAX 65536u
/* Buffers of all connections: so much a thread, and so much for each of --max-clients. */
#define HF_CLIENT_MEMORY_PER_THREAD 67108864u
#define HF_CLIENT_MEMORY_PER_CLIENT 65536u
#define HF_HISTORY_MAX 1000u	  /* events in one HF.HISTORY reply */
#define HF_PATTERNS_MAX 64u	  /* of one SCAN, HF.STATS or CONFIG GET */
#define HF_PATTERNS_LEN_MAX 1024u /* ... all together */

/* The log */
#define HF_RECORD_MAX 131072u /* one log record */
#define HF_FRAME_MAX 524288u  /* one frame (group), header and padding included */
#define HF_SECTOR 512u	      /* frames begin at multiples of this */
#define HF_SEGMENT_SIZE_MIN 1048576u
#define HF_SEGMENT_SIZE_MAX 1073741824u
#define HF_SEGMENT_SIZE_DEFAULT 67108864u
#define HF_SEGMENTS_MAX 16777216u
#define HF_LOG_BYTES_MAX (1ull << 48) /* of all segments: a position in an index has 48 bits */
#define HF_LOG_RING_SIZE 16777216u    /* the log's newest bytes, kept in memory */
#define HF_SCAN_WINDOW 1048576u	      /* of a segment at a time: fits the cache, and any frame */
#define HF_REPLAY_BATCH 64u /* records looked ahead, so that their memory is there in time */

/* Memory */
#define HF_INDEX_LINES_FIRST 64u /* of an index's first table; a power of two */
#define HF_ARENA_CHUNK 2097152u	 /* entities are laid down in chunks of this */

/* Rings of consistent hashing; places have 24 bytes each at most, twice while one changes */
#define HF_RING_NAME_MAX 255u
#define HF_RING_NODES_MAX 8192u
#define HF_RING_POINTS_MAX 1024u    /* for each unit of weight */
#define HF_RING_PLACES_MAX 4194304u /* of all nodes */

/* Counters and histograms */
#define HF_STATS_NAME_MAX 319u /* four names of a contract, and what stands between */
#define HF_STATS_THREAD_NAME_MAX 31u
#define HF_STATS_COUNTERS_MAX 1048576u /* of one struct hf_stats, gauges included */
#define HF_STATS_COUNTERS_DEFAULT 1024u
#define HF_STATS_HISTOGRAMS_MAX 4096u
#define HF_STATS_HISTOGRAMS_DEFAULT 64u
#define HF_STATS_THREADS_MAX 256u /* joined at a time */
#define HF_ARCHIVER_QUEUE_MAX 1024u
#define HF_ARCHIVER_WORKERS_MAX 64u
#define HF_ENGINE_COUNTERS 16384u /* what an engine and its server have of these */
#define HF_ENGINE_HISTOGRAMS 128u
/* Their breaker */
#define HF_STATS_SLOW_NS_DEFAULT 100u	 /* a count, on average over a sample */
#define HF_STATS_SAMPLE_EVERY 1024u	 /* quiescent points of a thread */
#define HF_STATS_SAMPLE_SOON 16u	 /* ... after a slow one */
#define HF_STATS_SLOW_SAMPLES 4u	 /* in a row, and it opens */
#define HF_STATS_PAUSE_MIN_NS 100000000u /* until it tries again; doubled if that is slow, too */
#define HF_STATS_PAUSE_MAX_NS 10000000000u

/* The concurrent map */
#define HF_MAP_NAME_MAX 31u /* a map's name, and a thread's in it */
#define HF_MAP_SHARDS_MAX 1024u
#define HF_MAP_SHARDS_DEFAULT 64u
#define HF_MAP_THREADS_MAX 1024u      /* joined to one map */
#define HF_MAP_BITS_MIN 4u	      /* the smallest table has 2^this home lines of 64 bytes */
#define HF_MAP_BITS_MAX 40u	      /* ... and the largest: there is no such memory */
#define HF_MAP_TAIL_LINES 8u	      /* behind the last home line, for what overflows it */
#define HF_MAP_LIMBO 1024u	      /* removed by one shard, but perhaps still being read */
#define HF_MAP_LIMBO_EAGER 128u	      /* from here on a shard finds out what is out of sight */
#define HF_MAP_LIMBO_RECORDS 65536u   /* replaced by one thread, but perhaps still being read */
#define HF_MAP_LIMBO_FIRST 2048u      /* ... as long as no reader is stuck */
#define HF_MAP_LIMBO_BYTES 8388608u   /* ... all together, if more than one */
#define HF_MAP_RETIRED_BYTES 1048576u /* objects removed, but perhaps still being read */
#define HF_MAP_MOVE_LINES 4u	   /* a write moves at least so many lines of a table in motion */
#define HF_MAP_WARM_LINES 64u	   /* ... and makes so many of the next table ready: a page */
#define HF_MAP_SURVEY_LINES 256u   /* ... or looks at so many of one that is to become smaller */
#define HF_MAP_DROP_BYTES 2097152u /* ... and gives back so much of one that is out of use */
#define HF_MAP_RECORD_MAX 65535u
#define HF_MAP_CURSOR_IMAGES 65536u   /* entries that a snapshot cursor keeps as they were */
#define HF_MAP_CURSOR_BYTES 67108864u /* ... and so many bytes of them, if more than one */
#define HF_MAP_PATIENCE_MS 1000u      /* default: how long a writer waits for a stuck reader */

/* Snapshots */
#define HF_SNAPSHOT_LOG_DEFAULT 268435456u /* bytes of log after which one is taken */
#define HF_SNAPSHOT_BLOCK_MAX 262144u	   /* one block of a file of one */
#define HF_SNAPSHOT_PACE 16u /* times as long as a slice took, its walk stays away from the lock */
#define HF_SNAPSHOT_DISK_PACE 4u /* times as long as a write took, it leaves the disk to the log */

#define HF_ERR_TEXT_MAX 768u

/*
 * The simulated world's build (tests/sim): the same code, with its edges close together, so that a
 * short run meets them all.
 */
#ifdef HF_SMALL_LIMITS
#undef HF_CONTRACT_TEXT_MAX
#undef HF_CONTRACTS_MAX
#undef HF_STATES_MAX
#undef HF_PARAMS_MAX
#undef HF_TRANSITIONS_MAX
#undef HF_BLOCK_MAX
#undef HF_HISTORY_MAX
#undef HF_PLAIN_VALUE_MAX
#undef HF_RECORD_MAX
#undef HF_FRAME_MAX
#undef HF_SEGMENT_SIZE_MIN
#undef HF_SEGMENT_SIZE_DEFAULT
#undef HF_LOG_RING_SIZE
#undef HF_SCAN_WINDOW
#undef HF_INDEX_LINES_FIRST
#undef HF_ARENA_CHUNK
#undef HF_MAP_BITS_MIN
#undef HF_MAP_TAIL_LINES
#undef HF_MAP_LIMBO
#undef HF_MAP_LIMBO_EAGER
#undef HF_MAP_LIMBO_RECORDS
#undef HF_MAP_LIMBO_FIRST
#undef HF_MAP_CURSOR_IMAGES
#undef HF_MAP_MOVE_LINES
#undef HF_SNAPSHOT_BLOCK_MAX
#undef HF_SNAPSHOT_DISK_PACE
#undef HF_STATS_SAMPLE_EVERY
#undef HF_ENGINE_COUNTERS
#undef HF_CONTRACT_BUCKETS
#undef HF_REPLAY_BATCH
#undef HF_DIAGNOSTICS_MAX
#undef HF_ENGINE_HISTOGRAMS
#define HF_CONTRACT_TEXT_MAX 1024u
#define HF_CONTRACTS_MAX 8u
#define HF_STATES_MAX 64u
#define HF_PARAMS_MAX 8u
#define HF_TRANSITIONS_MAX 256u
#define HF_BLOCK_MAX 512u
#define HF_HISTORY_MAX 32u
#define HF_PLAIN_VALUE_MAX 600u
#define HF_RECORD_MAX 1280u
#define HF_FRAME_MAX 4096u
#define HF_SEGMENT_SIZE_MIN 8192u
#define HF_SEGMENT_SIZE_DEFAULT 8192u
#define HF_LOG_RING_SIZE 32768u
#define HF_SCAN_WINDOW 8192u
#define HF_INDEX_LINES_FIRST 4u
#define HF_ARENA_CHUNK 4096u
#define HF_MAP_BITS_MIN 1u
#define HF_MAP_TAIL_LINES 4u
#define HF_MAP_LIMBO 4u
#define HF_MAP_LIMBO_EAGER 2u
#define HF_MAP_LIMBO_RECORDS 8u
#define HF_MAP_LIMBO_FIRST 4u
#define HF_MAP_CURSOR_IMAGES 16u
#define HF_MAP_MOVE_LINES 1u
#define HF_SNAPSHOT_BLOCK_MAX 8192u
#define HF_SNAPSHOT_DISK_PACE 0u /* so that the log is often behind */
#define HF_STATS_SAMPLE_EVERY 16u
#define HF_ENGINE_COUNTERS 128u
#define HF_CONTRACT_BUCKETS 16u
#define HF_REPLAY_BATCH 8u
#define HF_DIAGNOSTICS_MAX 4u
#ifdef HF_SMALL_SERVER /* fuzz/session: a histogram for each command */
#define HF_ENGINE_HISTOGRAMS 96u
#else
#define HF_ENGINE_HISTOGRAMS 4u
#undef HF_ARGS_MAX
#define HF_ARGS_MAX 16u
#endif
#endif

#endif
