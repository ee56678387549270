// Made by `python -m server.protocol.generate` from server/protocol. Do not edit.

export const SUBPROTOCOL = "cuestream.v1";
export const PROTOCOL_MINOR = 0;
export const SAFE_INTEGER = 9007199254740991;
export const HEADER_BYTES = 24;

export const HEADER_OFFSETS = {
  kind: 0,
  flags: 1,
  stream: 2,
  seq: 4,
  ts: 8,
  window: 16,
  dur: 20,
  ext_len: 22,
} as const;

export const KIND = {
  JPEG: 1,
  WEBP: 2,
  H264: 3,
  VP8: 4,
  I420: 5,
  PNG: 6,
  RGB24: 7,
  PCM_S16: 16,
  OPUS: 17,
  FLAC: 18,
  PCM_F32: 19,
} as const;

export const FLAG = {
  KEYFRAME: 1,
  DISCONTINUITY: 2,
  CONCEALED: 4,
  END: 8,
  CROSSFADE: 16,
  EXTENDED: 32,
} as const;

export const KNOWN_FLAGS = 63;

export const STREAM = {
  VIDEO: 0,
  ORIGINAL: 1,
  MUSIC: 2,
} as const;

export const EXTENSION = {
  SOURCE: 1,
  SIZE: 2,
} as const;

export const SOURCE_BYTES = 32;
export const SOURCE_OFFSETS = {
  newest_us: 0,
  newest_step: 8,
  age_steps: 12,
  seed: 16,
  revision: 24,
} as const;

export const SIZE_BYTES = 4;
export const SIZE_OFFSETS = {
  width: 0,
  height: 2,
} as const;

/** Error codes; `close`: the code the connection is closed with after it, null when it lives on. */
export const ERRORS = {
  bad_request: { close: null, meaning: "a field is missing, of the wrong kind or out of its range; nothing changed" },
  invalid_json: { close: null, meaning: "not JSON, or not the JSON we take: NaN, a repeated name, too deep, a huge number" },
  invalid_utf8: { close: 1007, meaning: "a text message is not UTF-8" },
  invalid_media: { close: null, meaning: "a binary message contradicts itself" },
  message_too_large: { close: 1009, meaning: "a message is longer than its limit" },
  unexpected_message: { close: 1003, meaning: "media before the session, or a second session.start" },
  too_many_errors: { close: 1008, meaning: "more refused messages in a minute than the limit" },
  bad_handshake: { close: 4400, meaning: "the first message is not session.start or session.resume, or late" },
  unsupported_codec: { close: null, meaning: "a codec that this server does not take or send" },
  decode_failed: { close: null, meaning: "a picture or sound could not be decoded; it was skipped" },
  frame_too_large: { close: null, meaning: "a picture has more pixels than the limit; it was skipped" },
  rate_limited: { close: null, meaning: "too many messages a second; this one was skipped" },
  quota_exceeded: { close: 4429, meaning: "the key's quota is used up" },
  unauthorized: { close: 4401, meaning: "no token, or one that is not valid" },
  forbidden: { close: 4403, meaning: "the token does not allow this" },
  session_not_found: { close: 4404, meaning: "no such session here" },
  session_expired: { close: 4404, meaning: "the resume handle is too old" },
  session_superseded: { close: 4409, meaning: "another connection resumed this session" },
  session_limit: { close: 4440, meaning: "the session is as long as one may be" },
  heartbeat_timeout: { close: 4408, meaning: "the client did not answer pings" },
  slow_consumer: { close: 4413, meaning: "the listener fell too far behind" },
  capacity: { close: 1013, meaning: "every place is taken, or the server is busy; retry_after_ms says when to ask again" },
  draining: { close: 4503, meaning: "the server takes no more sessions, it is going away" },
  restarting: { close: 1012, meaning: "the server restarts" },
  model_unavailable: { close: 1013, meaning: "the model does not play now; retry_after_ms says when to ask again" },
  generator_late: { close: null, meaning: "music is made too slowly; what is heard is concealed" },
  generator_failed: { close: 1011, meaning: "the music cannot go on" },
  ingest_failed: { close: null, meaning: "the video's address could not be read" },
  ingest_forbidden_url: { close: null, meaning: "the video's address is not allowed" },
  recording_off: { close: null, meaning: "this server was started without a folder for recordings" },
  recording_refused: { close: null, meaning: "a recording runs already, or as many as may" },
  internal: { close: 1011, meaning: "our mistake" },
} as const;

export type ErrorCode = keyof typeof ERRORS;

export type CloseAction = "resume" | "retry" | "stop";

/** Close codes and what a client may do after each. */
export const CLOSES = {
  1000: { name: "normal", action: "stop", meaning: "the session ended as asked" },
  1001: { name: "going_away", action: "resume", meaning: "the time of a go_away is over; resume at its reconnect_url" },
  1003: { name: "unexpected_message", action: "stop", meaning: "a message of a kind that has no place there" },
  1007: { name: "invalid_utf8", action: "stop", meaning: "a text message is not UTF-8" },
  1008: { name: "policy", action: "stop", meaning: "too many refused messages" },
  1009: { name: "too_large", action: "stop", meaning: "a message is longer than its limit" },
  1011: { name: "internal", action: "resume", meaning: "our mistake; the session may still be there" },
  1012: { name: "restarting", action: "resume", meaning: "the server restarts" },
  1013: { name: "try_again", action: "retry", meaning: "no place now" },
  4400: { name: "bad_handshake", action: "stop", meaning: "the connection did not begin as it must" },
  4401: { name: "unauthorized", action: "stop", meaning: "no valid token; get a new one first" },
  4403: { name: "forbidden", action: "stop", meaning: "the token does not allow this" },
  4404: { name: "no_session", action: "retry", meaning: "the session is unknown or gone" },
  4408: { name: "heartbeat_timeout", action: "resume", meaning: "pings were not answered" },
  4409: { name: "superseded", action: "stop", meaning: "another connection of this client has the session" },
  4413: { name: "slow_consumer", action: "resume", meaning: "the listener fell too far behind" },
  4429: { name: "rate_limited", action: "retry", meaning: "too much was asked for; wait" },
  4440: { name: "session_limit", action: "retry", meaning: "the session is as long as one may be" },
  4503: { name: "draining", action: "retry", meaning: "this server takes no more sessions; ask another" },
} as const;

/** How sound travels. One message holds a whole number of samples of every channel. */
export interface AudioFormat {
  readonly codec: "flac" | "opus" | "pcm_f32" | "pcm_s16";
  /** Hz [8000, 192000] */
  readonly sample_rate: number;
  /** [1, 2] */
  readonly channels: number;
}

/** Everything that holds now. Every field is always there. */
export interface Config {
  /** Guidance scale; 1 is none [0, 20] */
  readonly guidance: number;
  /** 0 is greedy [0, 10] */
  readonly temperature: number;
  /** 0 is off [0, 65536] */
  readonly top_k: number;
  /** 0 is off; otherwise it replaces top_k [0, 1] */
  readonly top_p: number;
  /** 0 to 2**53 - 1 [0, 9007199254740991] */
  readonly seed: number;
  /** Seconds; how long an old scene keeps sounding [0.5, 3600] */
  readonly short_term_s: number;
  readonly key: "A" | "Ab" | "B" | "Bb" | "C" | "D" | "Db" | "E" | "Eb" | "F" | "G" | "Gb" | "free" | "seed";
  /** How lively beside what moves in the picture: -1 as if nothing did, 1 as if all did [-1, 1] */
  readonly energy: number;
  readonly cut_response: "follow" | "gentle" | "ignore";
  readonly hold_scene: boolean;
  /** dB; -60 is silence [-60, 12] */
  readonly gain_db: number;
  readonly mute: boolean;
  /** Milliseconds; every change takes at least 10 so that none clicks [0, 10000] */
  readonly fade_ms: number;
  readonly duck: Duck;
}

/** The fields of `Config` that change. */
export interface ConfigPatch {
  /** Guidance scale; 1 is none [0, 20] */
  readonly guidance?: number;
  /** 0 is greedy [0, 10] */
  readonly temperature?: number;
  /** 0 is off [0, 65536] */
  readonly top_k?: number;
  /** 0 is off; otherwise it replaces top_k [0, 1] */
  readonly top_p?: number;
  /** 0 to 2**53 - 1 [0, 9007199254740991] */
  readonly seed?: number;
  /** Seconds; how long an old scene keeps sounding [0.5, 3600] */
  readonly short_term_s?: number;
  readonly key?: "A" | "Ab" | "B" | "Bb" | "C" | "D" | "Db" | "E" | "Eb" | "F" | "G" | "Gb" | "free" | "seed";
  /** How lively beside what moves in the picture: -1 as if nothing did, 1 as if all did [-1, 1] */
  readonly energy?: number;
  readonly cut_response?: "follow" | "gentle" | "ignore";
  readonly hold_scene?: boolean;
  /** dB; -60 is silence [-60, 12] */
  readonly gain_db?: number;
  readonly mute?: boolean;
  /** Milliseconds; every change takes at least 10 so that none clicks [0, 10000] */
  readonly fade_ms?: number;
  readonly duck?: DuckPatch;
}

/** The music steps back while the original sound is louder than `threshold_db`. */
export interface Duck {
  readonly enabled: boolean;
  /** dB of full scale [-80, 0] */
  readonly threshold_db: number;
  /** dB by which the music is lowered [0, 60] */
  readonly depth_db: number;
  /** Milliseconds [1, 1000] */
  readonly attack_ms: number;
  /** Milliseconds [1, 10000] */
  readonly release_ms: number;
}

/** The fields of `Duck` that change. */
export interface DuckPatch {
  readonly enabled?: boolean;
  /** dB of full scale [-80, 0] */
  readonly threshold_db?: number;
  /** dB by which the music is lowered [0, 60] */
  readonly depth_db?: number;
  /** Milliseconds [1, 1000] */
  readonly attack_ms?: number;
  /** Milliseconds [1, 10000] */
  readonly release_ms?: number;
}

/** What was refused, or why the connection is about to be closed (`fatal`). */
export interface ErrorMessage {
  readonly type: "error";
  readonly code: string;
  readonly text: string;
  readonly fatal: boolean;
  readonly param?: string;
  /** Milliseconds [0, 86400000] */
  readonly retry_after_ms?: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** How much audio may be on its way beyond what was reported as played; it replaces the credit that held before. */
export interface FlowCredit {
  readonly type: "flow.credit";
  /** Milliseconds of audio that may be sent and not yet played [60, 10000] */
  readonly credit_ms: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** The server leaves. A client resumes at the address, or at the same one, before the time is over. */
export interface GoAway {
  readonly type: "go_away";
  /** Milliseconds [0, 86400000] */
  readonly time_left_ms: number;
  readonly reason: "draining" | "restarting" | "session_limit";
  readonly reconnect_url?: string;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Once a second, over the last ten: how old the picture is in what is heard, and how fast music is made. */
export interface Latency {
  readonly type: "latency";
  /** Milliseconds, measured [0, 86400000] */
  readonly p50_ms: number;
  /** Milliseconds, measured [0, 86400000] */
  readonly p95_ms: number;
  /** Milliseconds, measured [0, 86400000] */
  readonly p99_ms: number;
  /** Milliseconds, measured [0, 86400000] */
  readonly buffer_ms: number;
  /** [0, 1000] */
  readonly real_time_factor: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** A picture that the music knows. */
export interface MemoryCell {
  /** Microseconds on the client's monotonic clock [0, 9007199254740991] */
  readonly at_us: number;
  /** [0, 9007199254740991] */
  readonly picture: number;
  readonly place: "memory" | "recalled" | "window";
  /** Milliseconds [0, 86400000] */
  readonly age_ms: number;
}

/** What the music remembers of the video, the oldest first; sent when it changes. */
export interface MemoryState {
  readonly type: "memory.state";
  readonly cells: ReadonlyArray<MemoryCell>;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Asks for the time; the answer gives the round trip and the offset of the clocks. */
export interface Ping {
  readonly type: "ping";
  /** Microseconds on the client's monotonic clock [0, 9007199254740991] */
  readonly t_us: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** play: make music. pause: hold it; play goes on from there. stop: end it and forget the context; play begins anew. reset_context: forget the context and play on. The configuration stays in all of them. */
export interface Playback {
  readonly type: "playback";
  readonly action: "pause" | "play" | "reset_context" | "stop";
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Acknowledges playout. Sent at least every 200 ms while music plays. */
export interface PlayoutReport {
  readonly type: "playout.report";
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly played_through_sample: number;
  /** Milliseconds, measured [0, 86400000] */
  readonly buffer_ms: number;
  /** [0, 9007199254740991] */
  readonly underruns?: number;
  /** Parts in a million that the client's sound card is fast [-10000, 10000] */
  readonly clock_ppm?: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Answers a ping with its time and ours. */
export interface Pong {
  readonly type: "pong";
  /** Microseconds on the client's monotonic clock [0, 9007199254740991] */
  readonly t_us: number;
  /** Microseconds on the server's monotonic clock [0, 9007199254740991] */
  readonly server_us: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Begins or ends a recording of the session on the server. Its answer is a `recording.state`. */
export interface Recording {
  readonly type: "recording";
  readonly action: "start" | "stop";
  readonly audio?: "flac" | "opus" | "wav";
  readonly video?: boolean;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** How a recording stands; sent when it begins, when it ends, and after a resume while it runs. */
export interface RecordingState {
  readonly type: "recording.state";
  readonly recording_id: string;
  readonly state: "failed" | "finished" | "recording";
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly samples: number;
  readonly paths: ReadonlyArray<string>;
  readonly reason?: "asked" | "disk" | "failed" | "length" | "quota" | "session_ended";
  readonly text?: string;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Once a second. A new handle replaces the one before. */
export interface ResumeHandle {
  readonly type: "resume.handle";
  /** Opaque; good for one session until it expires */
  readonly handle: string;
  readonly resumable: boolean;
  /** Milliseconds [0, 86400000] */
  readonly expires_ms: number;
  /** [0, 9007199254740991] */
  readonly consumed_messages: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Change now: a cut, whatever the pictures and `cut_response` say. */
export interface SceneChange {
  readonly type: "scene.change";
  /** Microseconds on the client's monotonic clock [0, 9007199254740991] */
  readonly at_us?: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** A cut was seen in the video, or asked for. */
export interface SceneCut {
  readonly type: "scene.cut";
  /** Microseconds on the client's monotonic clock [0, 9007199254740991] */
  readonly at_us: number;
  readonly response: "follow" | "gentle" | "ignore";
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly from_sample: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** The session as it is, after `session.start`. */
export interface SessionCreated {
  readonly type: "session.created";
  /** Highest minor version that the sender knows [0, 65535] */
  readonly protocol_minor: number;
  readonly session_id: string;
  readonly server: string;
  readonly model: string;
  readonly label: string;
  /** [1, 1000] */
  readonly steps_per_s: number;
  readonly audio: AudioFormat;
  readonly video: VideoFormat;
  readonly limits: SessionLimits;
  /** Counts the changes of the configuration, from 0 [0, 4294967295] */
  readonly revision: number;
  readonly config: Config;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Fade out, and end the session. */
export interface SessionEnd {
  readonly type: "session.end";
  /** Milliseconds; every change takes at least 10 so that none clicks [0, 10000] */
  readonly fade_ms?: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** The last message of a session. */
export interface SessionEnded {
  readonly type: "session.ended";
  readonly reason: "asked" | "failed" | "idle" | "session_limit";
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly samples: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** The limits that a client has to know. */
export interface SessionLimits {
  /** [0, 9007199254740991] */
  readonly text_bytes: number;
  /** [0, 9007199254740991] */
  readonly image_bytes: number;
  /** [0, 9007199254740991] */
  readonly audio_bytes: number;
  /** [0, 9007199254740991] */
  readonly messages_per_s: number;
  /** Milliseconds of audio that may be sent and not yet played [60, 10000] */
  readonly credit_ms: number;
  /** [0, 9007199254740991] */
  readonly resume_window_s: number;
  /** [0, 9007199254740991] */
  readonly session_s: number;
}

/** The first message of a connection that goes on with a session. */
export interface SessionResume {
  readonly type: "session.resume";
  /** Highest minor version that the sender knows [0, 65535] */
  readonly protocol_minor: number;
  /** Opaque; good for one session until it expires */
  readonly handle: string;
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly received_through_sample: number;
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly played_through_sample: number;
  readonly client?: string;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** The session goes on, after `session.resume`. */
export interface SessionResumed {
  readonly type: "session.resumed";
  /** Highest minor version that the sender knows [0, 65535] */
  readonly protocol_minor: number;
  readonly session_id: string;
  /** Index of a sample of the music, from 0 [0, 9007199254740991] */
  readonly first_sample: number;
  /** [0, 9007199254740991] */
  readonly consumed_messages: number;
  readonly audio: AudioFormat;
  readonly video: VideoFormat;
  readonly limits: SessionLimits;
  /** Counts the changes of the configuration, from 0 [0, 4294967295] */
  readonly revision: number;
  readonly config: Config;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** The first message of a new session. */
export interface SessionStart {
  readonly type: "session.start";
  /** Highest minor version that the sender knows [0, 65535] */
  readonly protocol_minor: number;
  readonly client?: string;
  readonly audio?: AudioFormat;
  readonly original?: AudioFormat;
  readonly config?: ConfigPatch;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Changes what it names. All of it or, when a value is refused, nothing. */
export interface SessionUpdate {
  readonly type: "session.update";
  readonly config: ConfigPatch;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Everything that holds now; audio with this revision was made with it. */
export interface SessionUpdated {
  readonly type: "session.updated";
  /** Counts the changes of the configuration, from 0 [0, 4294967295] */
  readonly revision: number;
  readonly config: Config;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Whether music plays and how well; sent when it changes. */
export interface State {
  readonly type: "state";
  readonly playback: "paused" | "playing" | "stopped";
  readonly health: "concealing" | "degraded" | "on_time" | "waiting";
  /** [0, 16] */
  readonly level: number;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** How pictures should travel: any of the codecs, at most so many a second, the longer edge at most so long. */
export interface VideoFormat {
  readonly codecs: ReadonlyArray<"h264" | "i420" | "jpeg" | "png" | "rgb24" | "vp8" | "webp">;
  /** [None, 240] */
  readonly fps: number;
  /** Pixels [1, 16384] */
  readonly max_edge: number;
}

/** How pictures should come from now on. */
export interface VideoRequest {
  readonly type: "video.request";
  readonly video: VideoFormat;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

/** Something was ignored; said once. */
export interface WarningMessage {
  readonly type: "warning";
  readonly code: string;
  readonly text: string;
  readonly param?: string;
  /** Chosen by the client; what answers the message has it too */
  readonly event_id?: string;
}

export type ClientMessage =
  | SessionStart
  | SessionResume
  | SessionUpdate
  | Playback
  | SceneChange
  | FlowCredit
  | PlayoutReport
  | Ping
  | Recording
  | SessionEnd;

export type ServerMessage =
  | SessionCreated
  | SessionResumed
  | SessionUpdated
  | SessionEnded
  | State
  | SceneCut
  | MemoryState
  | Latency
  | ResumeHandle
  | RecordingState
  | VideoRequest
  | GoAway
  | WarningMessage
  | ErrorMessage
  | Pong;
