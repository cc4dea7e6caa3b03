// The shapes of docs/http.md, as far as the console shows them.

/** A count or an offset. Integers beyond 2^53 arrive as text (see `parse` in api.ts) and are only ever shown. */
export type Num = number | string;

export interface Status {
  version: string;
  uptime: Num;
  node?: string;
  mode?: string;
  connections: Num;
  topics: Num;
  groups: Num;
  jobs?: Record<string, Num>;
  messages_in: Num;
  messages_out: Num;
  journal_bytes?: Num;
  memory?: { used: Num; budget: Num };
  listeners?: (string | Record<string, unknown>)[];
}

export interface Partition {
  partition: Num;
  start: Num;
  end: Num;
  bytes: Num;
}

export interface Policy {
  partitions?: Num;
  keep_age?: string | null;
  keep_bytes?: Num | null;
  keep_until_consumed?: boolean;
  max_message?: Num | null;
  memory?: boolean;
  claims?: string[];
}

export interface Topic extends Policy {
  name: string;
  partition?: Partition[];
  messages: Num;
  groups: Num;
  created?: string;
}

export type Header = string | number | boolean | { base64: string } | Header[];

export interface Message {
  id?: string;
  topic: string;
  address?: string;
  partition: Num;
  offset: Num;
  at?: string;
  key?: string;
  key_base64?: string;
  headers?: Record<string, Header>;
  content_type?: string;
  body?: string;
  encoding?: string;
  attempt?: Num;
}

export interface Group {
  topic: string;
  name: string;
  mode?: string;
  start?: string;
  lease?: string;
  attempts?: Num;
  dead_letter?: string | null;
  backoff?: string;
  order?: string;
  ready: Num;
  leased: Num;
  delayed: Num;
  acked: Num;
  dead: Num;
  expired?: Num;
  depth?: Num;
  position?: { partition: Num; floor: Num; end: Num }[];
}

export interface JobError {
  code?: string;
  message?: string;
  retryable?: boolean;
  details?: unknown[];
}

export interface Body {
  content_type?: string;
  body?: string;
  encoding?: string;
}

export interface Job {
  id: string;
  method: string;
  state: string;
  attempts: Num;
  created: string;
  started?: string;
  finished?: string;
  deadline?: string;
  progress?: unknown;
  worker?: string;
  cancel_requested?: boolean;
  rerun_of?: string;
  result?: Body;
  error?: JobError;
  events?: Num;
}

export interface JobEvent extends Body {
  seq: number;
  at: string;
  type: string;
  attempt?: Num;
  state?: string;
  worker?: string;
  reason?: string;
  progress?: unknown;
  text?: string;
  stream?: string;
  error?: JobError;
}

export interface Method {
  name?: string;
  method?: string;
  topic?: string;
}
