/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
/** Kind of change of a call. */
export type CallEventType =
  /** Deletion of the call. Removal by a purge or by retention sends no event. */
  | 'DELETED'
  /** End of the call, or storage of a complete call. */
  | 'ENDED'
  /** Start of the call, which may have ended before the event arrives. */
  | 'STARTED'
  /** Change of the display name, or a replaced start or end. */
  | 'UPDATED';

/** Kind of a call. */
export type CallKind =
  /** Run of an agent. */
  | 'AGENT'
  /** Step or workflow that combines other calls. */
  | 'CHAIN'
  /** Computation of embeddings. */
  | 'EMBEDDING'
  /** Evaluation or score of a result. */
  | 'EVALUATOR'
  /** Check of an input or output, such as moderation. */
  | 'GUARDRAIL'
  /** Request to a language model. */
  | 'LLM'
  /** Any other kind that the sender states. */
  | 'OTHER'
  /** Creation of a prompt. */
  | 'PROMPT'
  /** Ranking of documents by a model. */
  | 'RERANKER'
  /** Search for documents. */
  | 'RETRIEVER'
  /** Call of a tool. */
  | 'TOOL';

/** Searched field of a call. */
export type CallSearchField =
  /** Display name of the call. */
  | 'DISPLAY_NAME'
  /** Text of the exception that ended the call. */
  | 'EXCEPTION'
  /** Arguments of the call. */
  | 'INPUTS'
  /** Name of the op. */
  | 'OP_NAME'
  /** Result of the call. */
  | 'OUTPUT';

/** Filter of calls. A call matches if each non-empty list contains its value and all other conditions hold. An empty or omitted list sets no condition. Each list has at most 1,000 entries. */
export type CallsFilter = {
  /** Ids of calls. */
  callIds?: Array<string> | null | undefined;
  /** Deployment environments, such as production. */
  environments?: Array<string> | null | undefined;
  /** Types of errors, such as RateLimitError; modules are ignored. */
  errorTypes?: Array<string> | null | undefined;
  /** True if only calls with the status ERROR match: those that ended with an exception. */
  errorsOnly?: boolean | null | undefined;
  /** Finish reasons of which a call has at least one, such as length; in any sender's spelling. */
  finishReasons?: Array<string> | null | undefined;
  /** Refs of which at least one is in the inputs; each is compared as a whole. */
  inputRefs?: Array<string> | null | undefined;
  /** Kinds of calls. */
  kinds?: Array<CallKind> | null | undefined;
  /** Inclusive upper bound of timeToFirstTokenMs. */
  maxTimeToFirstTokenMs?: number | null | undefined;
  /** Inclusive lower bound of timeToFirstTokenMs. */
  minTimeToFirstTokenMs?: number | null | undefined;
  /** Exact names of models, each of a call itself (`model`) or of usage that it reports. */
  models?: Array<string> | null | undefined;
  /** Op names: a plain name or `name:*` matches that name and every version of the op, as `traceName` and `callsAggregate` show it. A ref matches one version, and `weave:///entity/project/op/name:*` every version. */
  opNames?: Array<string> | null | undefined;
  /** Refs of which at least one is in the output; each is compared as a whole. */
  outputRefs?: Array<string> | null | undefined;
  /** Ids of parent calls. */
  parentIds?: Array<string> | null | undefined;
  /** Providers of models, in any sender's spelling. */
  providers?: Array<string> | null | undefined;
  /** Releases of the application. */
  releases?: Array<string> | null | undefined;
  /** Exclusive lower bound of startedAt. */
  startedAfter?: string | null | undefined;
  /** Exclusive upper bound of startedAt. */
  startedBefore?: string | null | undefined;
  /** Statuses of calls. */
  statuses?: Array<TraceStatus> | null | undefined;
  /** Tags of which a call has at least one. */
  tags?: Array<string> | null | undefined;
  /** Ids of threads. */
  threadIds?: Array<string> | null | undefined;
  /** Ids of traces. */
  traceIds?: Array<string> | null | undefined;
  /** True if only calls without a parent match. */
  traceRootsOnly?: boolean | null | undefined;
  /** Ids of turns. */
  turnIds?: Array<string> | null | undefined;
  /** Ids of end users. */
  userIds?: Array<string> | null | undefined;
  /** W&B runs of the calls, as entity/project/run. */
  wbRunIds?: Array<string> | null | undefined;
  /** Users who wrote the calls. */
  wbUserIds?: Array<string> | null | undefined;
};

/** Key to group calls by; it is a field of the rows. */
export type CallsGroupBy =
  /** Deployment environment; null if unknown. */
  | 'ENVIRONMENT'
  /** Type of the error that ended the calls; null for none. */
  | 'ERROR_TYPE'
  /** Finish reason. A call is in the row of each of its reasons, and in the row of null if it has none. */
  | 'FINISH_REASON'
  /** Kind of the calls; null if unknown. */
  | 'KIND'
  /** Model name. A call with usage is in the row of each model that it used, with its usage of that model. Any other call is in the row of its model column, or in the row of null. */
  | 'MODEL'
  /** Op name, with all versions of the op in one group; opName of the rows. */
  | 'OP_NAME'
  /** Ref of the op's version, or the plain name, as in opName of a call; opVersion of the rows. */
  | 'OP_VERSION'
  /** Provider of the model; null if unknown. */
  | 'PROVIDER'
  /** Release of the application; null if unknown. */
  | 'RELEASE'
  /** Status of the calls. */
  | 'STATUS'
  /** Tag. A call is in the row of each of its tags, and in the row of null if it has none. */
  | 'TAG'
  /** Id of the thread; null for calls without a thread. */
  | 'THREAD'
  /** Time bucket of the start; bucketStart and bucketEnd of the rows. */
  | 'TIME_BUCKET'
  /** Time to the first token in milliseconds, not rounded; null if unknown. */
  | 'TIME_TO_FIRST_TOKEN_MS'
  /** User who wrote the calls. */
  | 'USER'
  /** Id of the end user; null if unknown. USER is the user who wrote the calls. */
  | 'USER_ID';

/** Kind of event of a streamed completion. */
export type CompletionEventType =
  /** Chunk of the response from the provider. */
  | 'CHUNK'
  /** End: the response is complete or was interrupted, and the call has ended. */
  | 'FINISHED'
  /** Start: the call is stored, and the request to the provider is sent. */
  | 'STARTED';

/** Parameters of a completion, named as in OpenAI's API. Omitted and null parameters are not sent to the provider. */
export type CompletionsCreateRequestInputs = {
  /** Version of the provider's API, added to the URL as api-version. */
  apiVersion?: string | null | undefined;
  /** Additional headers for the provider: a JSON object of names and strings. They are not stored. The header api_key replaces the server's API key. */
  extraHeaders?: unknown;
  /** Penalty on tokens, proportional to how often they have occurred. */
  frequencyPenalty?: number | null | undefined;
  /** Choice of the function, for older models. */
  functionCall?: string | null | undefined;
  /** Functions that the model may call, for older models. */
  functions?: Array<unknown> | null | undefined;
  /** Bias per token, as a JSON object of token ids and numbers. */
  logitBias?: unknown;
  /** True if the response includes the log probability of each token. */
  logprobs?: boolean | null | undefined;
  /** Maximum number of generated tokens, including reasoning. */
  maxCompletionTokens?: number | null | undefined;
  /** Maximum number of generated tokens, for older models. */
  maxTokens?: number | null | undefined;
  /** Messages of the conversation: JSON objects such as {"role": "user", "content": "Hello"}. */
  messages?: Array<unknown>;
  /** Output types, such as text and audio. */
  modalities?: Array<string> | null | undefined;
  /** Model: provider/model such as openai/gpt-4o, a name such as gpt-4o if it identifies the provider, or custom::<provider>::<model> for a Provider and a ProviderModel among the project's objects. */
  model: string;
  /** Number of choices to generate. */
  n?: number | null | undefined;
  /** True if the model may call several tools in parallel. */
  parallelToolCalls?: boolean | null | undefined;
  /** Penalty on tokens that have already occurred. */
  presencePenalty?: number | null | undefined;
  /** Format of the response: a JSON object such as {"type": "json_object"}, or one with a JSON Schema. */
  responseFormat?: unknown;
  /** Seed for reproducible sampling, as far as the provider supports it. */
  seed?: number | null | undefined;
  /** Stop sequence, or a list of them, at which the completion ends. */
  stop?: unknown;
  /** Flag without effect: completionsCreateStream always streams, and completionsCreate rejects true. */
  stream?: boolean | null | undefined;
  /** Sampling temperature: higher values make the choice of tokens more random. */
  temperature?: number | null | undefined;
  /** Timeout of the provider in seconds, as a number or a string, at most LOOMQL_COMPLETION_TIMEOUT_SECONDS. For a stream, the timeout between two chunks. */
  timeout?: unknown;
  /** Choice of the tool: a string such as auto, or a JSON object. */
  toolChoice?: unknown;
  /** Tools that the model may call, as JSON objects. */
  tools?: Array<unknown> | null | undefined;
  /** Number of most likely tokens to return at each position. */
  topLogprobs?: number | null | undefined;
  /** Nucleus sampling: the probability mass of the tokens to choose from. */
  topP?: number | null | undefined;
  /** Id of the end user, for the provider. */
  user?: string | null | undefined;
};

/** Substring test: `{input: {getField: "inputs"}, substr: {literal: "refund"}}`. */
export type ContainsOperation = {
  /** True if letter case is ignored; substr is then at most 1,000 characters long. */
  caseInsensitive?: boolean;
  /** Text to search; a list or an object is searched as its compact JSON. */
  input: Operand;
  /** Text to look for. */
  substr: Operand;
};

/** Conversion: `{input: {getField: "inputs.age"}, to: INT}`. */
export type ConvertOperation = {
  /** Value to convert. */
  input: Operand;
  /** Target type; the result is null if the value cannot be converted. */
  to: ConvertTo;
};

/** Target type of a conversion. */
export type ConvertTo =
  /** Boolean: a boolean, "true", "false", or a number (0 is false). */
  | 'BOOL'
  /** Double: a number, or a string that contains one. */
  | 'DOUBLE'
  /** Boolean: true for any value but null. */
  | 'EXISTS'
  /** Integer: an integer, or a string that contains one. */
  | 'INT'
  /** String: a string, the text of a number or boolean, or any other JSON value as text. */
  | 'STRING';

/** State of an evaluation run. */
export type EvaluationStatusCode =
  /** Complete: ended without an exception, whatever its scores. */
  | 'COMPLETE'
  /** Failed: ended with an exception. */
  | 'FAILED'
  /** No run: its call is missing or deleted. */
  | 'NOT_FOUND'
  /** Running: started but not ended. */
  | 'RUNNING';

/** Feedback on the target of a ref. Some types have rules. `wandb.reaction.1`: payload.emoji is one emoji. `wandb.note.1`: payload.note has 1 to 1,024 characters. `wandb.annotation.<name>`: payload.value is valid for the AnnotationSpec at annotationRef. `wandb.runnable.<name>`: payload.output is the output of the object or op at runnableRef. */
export type FeedbackCreateReq = {
  /** Ref of the AnnotationSpec of an annotation: a version of the object <name> of the same project. */
  annotationRef?: string | null | undefined;
  /** Ref of the call that produced a runnable's output; required for an op. */
  callRef?: string | null | undefined;
  /** Display name of the author; null for none. */
  creator?: string | null | undefined;
  /** Type of the feedback, such as wandb.reaction.1, or any text. */
  feedbackType: string;
  /** Id of at most 128 characters; a new UUIDv7 if omitted. Feedback with the same id is replaced if it has the same user and weaveRef. */
  id?: string | null | undefined;
  /** Content of the feedback: a JSON object of at most 1 MiB. */
  payload: unknown;
  /** Id of the project, as entity/project. */
  projectId: string;
  /** Ref of the object or op <name> of a runnable. */
  runnableRef?: string | null | undefined;
  /** Ref of the cause of a runnable's or an annotation's feedback. */
  triggerRef?: string | null | undefined;
  /** User who writes; the caller if omitted. */
  wbUserId?: string | null | undefined;
  /** Ref of the subject, such as a call. A plain call id is converted to the ref of that call of the project. */
  weaveRef: string;
};

/** Membership: true if a value equals one of several. */
export type InOperation = {
  /** Value to look for. */
  input: Operand;
  /** Values to compare with. */
  values: Array<Operand>;
};

/** Version of an object or op, identified by the digest of its value. An existing version keeps its index, is restored if it was deleted, and becomes the latest. */
export type ObjSchemaForInsert = {
  /** Built-in class, such as AnnotationSpec, Provider or SavedView, that validates and completes the value; none if omitted. */
  builtinObjectClass?: string | null | undefined;
  /** Name of the object: 1 to 128 letters, digits, dots, underscores and hyphens. */
  objectId: string;
  /** Id of the project, as entity/project. */
  projectId: string;
  /** Built-in class, under its old argument name. */
  setBaseObjectClass?: string | null | undefined;
  /** Value of the version: any JSON value; null must be explicit. A value with `_type` "Op" makes an op; `_class_name` and `_bases` state the class. */
  val?: unknown;
  /** User who writes; the caller if omitted. */
  wbUserId?: string | null | undefined;
};

/** Filter of versions. A version matches if each non-empty list contains its value and all other conditions hold. An empty or omitted list sets no condition. Each list has at most 1,000 entries. */
export type ObjectVersionFilter = {
  /** Base classes of the objects. */
  baseObjectClasses?: Array<string> | null | undefined;
  /** Base classes to exclude; objects without a class are excluded too. */
  excludeBaseObjectClasses?: Array<string> | null | undefined;
  /** True if only ops match, false if only other objects match; both match if omitted. */
  isOp?: boolean | null | undefined;
  /** True if only the latest version of each name matches. */
  latestOnly?: boolean | null | undefined;
  /** Classes of the objects themselves. */
  leafObjectClasses?: Array<string> | null | undefined;
  /** Names of the objects. */
  objectIds?: Array<string> | null | undefined;
};

/** Value: a literal, a field, a conversion, or the result of an operation. */
export type Operand =
  {   /** Conjunction: true if all operands are true. */
  and: Array<Operand>; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never;   /** Substring test: true if a text contains another. */
  contains: ContainsOperation; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never;   /** Conversion to another type; a condition must convert to BOOL or EXISTS. */
  convert: ConvertOperation; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never;   /** Equality: Two operands. Numbers are equal by value, lists and objects by their members in order, and a missing value equals null. A field with a fixed set of values, such as `status`, ignores letter case. For `op_name`, a plain name or `name:*` also matches the versions of that op. */
  eq: Array<Operand>; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never;   /** Existence test: true if the operand is present and not null. */
  exists: Operand; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never;   /** Field name, such as `started_at`, `op_name` or `status`, or a path into inputs, output, attributes or summary, such as `inputs.messages.0.content`. Write a dot inside a key as `\\.` For calls, also a field of their feedback by type, or `*` for any type: `feedback.[wandb.reaction.1].payload.emoji`. A comparison is true if it is true for any such feedback; without feedback the value is null. A feedback field that is null also equals an empty text. */
  getField: string; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never;   /** Greater than: Two operands. Numbers are compared with numbers, strings with strings. */
  gt: Array<Operand>; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never;   /** Greater than or equal: Two operands. */
  gte: Array<Operand>; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never;   /** Membership: true if the operand equals one of several values. */
  in: InOperation; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never;   /** Null test: true if the operand is null or missing. */
  isNull: Operand; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never;   /** Literal string, number or boolean. */
  literal: string | number | boolean; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never;   /** Less than: Two operands. */
  lt: Array<Operand>; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never;   /** Less than or equal: Two operands. */
  lte: Array<Operand>; ne?: never; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never;   /** Inequality: Two operands. True exactly if eq is false. */
  ne: Array<Operand>; not?: never; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never;   /** Negation: true if the operand is false; a list of one. */
  not: Array<Operand>; nullLiteral?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never;   /** True for the value null; false is rejected. */
  nullLiteral: boolean; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never;   /** Disjunction: true if at least one operand is true. */
  or: Array<Operand>; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; getField?: never; gt?: never; gte?: never; in?: never; isNull?: never; literal?: never; lt?: never; lte?: never; ne?: never; not?: never; nullLiteral?: never; or?: never;   /** Prefix test: Two operands. True if the first is a string that starts with the second. */
  startsWith: Array<Operand>; };

/** Condition: exactly one operation, such as `{gt: [{getField: "latency_ms"}, {literal: 1000}]}`. Conditions nest in `and`, `or` and `not`. */
export type Operation =
  {   /** Conjunction: true if all operands are true. */
  and: Array<Operand>; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never;   /** Substring test: true if a text contains another. */
  contains: ContainsOperation; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never;   /** Conversion to another type; a condition must convert to BOOL or EXISTS. */
  convert: ConvertOperation; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never;   /** Equality: Two operands. Numbers are equal by value, lists and objects by their members in order, and a missing value equals null. A field with a fixed set of values, such as `status`, ignores letter case. For `op_name`, a plain name or `name:*` also matches the versions of that op. */
  eq: Array<Operand>; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never;   /** Existence test: true if the operand is present and not null. */
  exists: Operand; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never;   /** Greater than: Two operands. Numbers are compared with numbers, strings with strings. */
  gt: Array<Operand>; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never;   /** Greater than or equal: Two operands. */
  gte: Array<Operand>; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never;   /** Membership: true if the operand equals one of several values. */
  in: InOperation; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never;   /** Null test: true if the operand is null or missing. */
  isNull: Operand; lt?: never; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never;   /** Less than: Two operands. */
  lt: Array<Operand>; lte?: never; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never;   /** Less than or equal: Two operands. */
  lte: Array<Operand>; ne?: never; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never;   /** Inequality: Two operands. True exactly if eq is false. */
  ne: Array<Operand>; not?: never; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never;   /** Negation: true if the operand is false; a list of one. */
  not: Array<Operand>; or?: never; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never;   /** Disjunction: true if at least one operand is true. */
  or: Array<Operand>; startsWith?: never; }
  |  { and?: never; contains?: never; convert?: never; eq?: never; exists?: never; gt?: never; gte?: never; in?: never; isNull?: never; lt?: never; lte?: never; ne?: never; not?: never; or?: never;   /** Prefix test: Two operands. True if the first is a string that starts with the second. */
  startsWith: Array<Operand>; };

/** Condition on fields of the entries, typed or as JSON. */
export type QueryInput =
  {   /** Condition as typed input, which GraphiQL completes. */
  expr: Operation; json?: never; }
  |  { expr?: never;   /** Condition as JSON: {"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "f"}]}}. */
  json: unknown; };

/** Role of a caller in a project; each role includes the lower ones. */
export type Role =
  /** Right to purge the project, and to set its retention rule and search index, too. */
  | 'ADMIN'
  /** No access to the project. */
  | 'NONE'
  /** Right to read the data of the project. */
  | 'READER'
  /** Right to write and delete data of the project, too. */
  | 'WRITER';

/** Key of a sort; entries with equal keys are ordered by id, in the direction of the last key. */
export type SortBy = {
  /** Direction of the sort. */
  direction: SortDirection;
  /** Field name, such as started_at, latency_ms or op_name. A field of the feedback on calls, such as feedback.[wandb.reaction.1].created_at, is read from the newest feedback of the type. */
  field: string;
};

/** Direction of a sort; null and missing values are last in both directions. */
export type SortDirection =
  /** Ascending: smallest, earliest or alphabetically first entries first. */
  | 'ASC'
  /** Descending: largest, latest or alphabetically last entries first. */
  | 'DESC';

/** Row to append. */
export type TableAppendSpecPayload = {
  /** Row as a JSON object. */
  row: unknown;
};

/** Row to insert. */
export type TableInsertSpecPayload = {
  /** Index of the new row, from 0 to the number of rows. */
  index: number;
  /** Row as a JSON object. */
  row: unknown;
};

/** Row to remove. */
export type TablePopSpecPayload = {
  /** Index of the row, from 0, after the preceding updates. */
  index: number;
};

/** Table. Equal rows in equal order are one table, however often the client sends them. */
export type TableSchemaForInsert = {
  /** Id of the project, as entity/project. */
  projectId: string;
  /** Rows in order, each a JSON object; duplicates are allowed. */
  rows: Array<unknown>;
};

/** Change of a table: exactly one of append, pop and insert. */
export type TableUpdateSpec =
  {   /** Row to append at the end. */
  append: TableAppendSpecPayload; insert?: never; pop?: never; }
  |  { append?: never;   /** Row to insert at an index. */
  insert: TableInsertSpecPayload; pop?: never; }
  |  { append?: never; insert?: never;   /** Row to remove. */
  pop: TablePopSpecPayload; };

/** Filter of threads and of the turns that count. All numbers and times of a thread refer to the turns that started between the two times. A thread without an ended turn among these is left out. */
export type ThreadsQueryFilter = {
  /** Exclusive lower bound of the start of turns. */
  afterDatetime?: string | null | undefined;
  /** Exclusive upper bound of the start of turns. */
  beforeDatetime?: string | null | undefined;
  /** Ids of threads, at most 1,000; an empty or omitted list sets no condition. */
  threadIds?: Array<string> | null | undefined;
};

/** Length of a time bucket. */
export type TimeBucket =
  /** One calendar day of the time zone, 23 to 25 hours long. */
  | 'DAY'
  /** One hour. */
  | 'HOUR'
  /** One minute. */
  | 'MINUTE'
  /** One calendar month of the time zone. */
  | 'MONTH'
  /** One calendar week of the time zone, from Monday. */
  | 'WEEK';

/** Status of a call. */
export type TraceStatus =
  /** Ended without an exception, but descendants failed. */
  | 'DESCENDANT_ERROR'
  /** Ended with an exception. */
  | 'ERROR'
  /** Started but not ended. */
  | 'RUNNING'
  /** Ended without an exception. */
  | 'SUCCESS';

export type ChartQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  groupBy: Array<CallsGroupBy> | CallsGroupBy;
  bucket: TimeBucket;
  timezone?: string | null | undefined;
}>;


export type ChartQuery = { callsAggregate: { usesRollups: boolean, rows: Array<{ bucketStart: string | null, bucketEnd: string | null, opName: string | null, model: string | null, userId: string | null, release: string | null, environment: string | null, kind: CallKind | null, count: number, errorCount: number, p50LatencyMs: number | null, p95LatencyMs: number | null, p99LatencyMs: number | null, totalTokens: number, cost: number | null }> } | null };

export type FeedbackChartQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  bucket: TimeBucket;
  timezone?: string | null | undefined;
  numbers: Array<string> | string;
}>;


export type FeedbackChartQuery = { callsAggregate: { rows: Array<{ bucketStart: string | null, numbers: Array<{ field: string, average: number | null, count: number }> | null }> } | null };

export type EvaluationRunsQueryVariables = Exact<{
  projectId: string;
  first: number;
  after?: string | null | undefined;
}>;


export type EvaluationRunsQuery = { evaluationRuns: { totalCount: number, nodes: Array<{ id: string, displayName: string | null, status: EvaluationStatusCode, startedAt: string, latencyMs: number | null, trials: number, evaluation: { ref: string } | null, model: { ref: string } | null, dataset: { ref: string } | null, metrics: Array<{ name: string, mean: number | null, count: number, trueCount: number | null }>, usage: { totalTokens: number, cost: number | null } }>, pageInfo: { hasNextPage: boolean, endCursor: string | null } } | null };

export type EvaluationRunQueryVariables = Exact<{
  projectId: string;
  callId: string;
}>;


export type EvaluationRunQuery = { evaluationRun: { displayName: string | null } | null };

export type EvaluationRowsCountQueryVariables = Exact<{
  projectId: string;
  evaluationCallId: string;
  query?: QueryInput | null | undefined;
}>;


export type EvaluationRowsCountQuery = { evaluationResults: { totalCount: number } | null };

export type EvaluationRowsQueryVariables = Exact<{
  projectId: string;
  evaluationCallId: string;
  sortBy?: Array<SortBy> | SortBy | null | undefined;
  query?: QueryInput | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
  offset?: number | null | undefined;
}>;


export type EvaluationRowsQuery = { evaluationResults: { nodes: Array<{ exampleDigest: string, example: unknown, predictions: Array<{ id: string, trial: number, status: TraceStatus, exception: string | null, latencyMs: number | null, output: unknown, scores: Array<{ name: string, value: unknown, exception: string | null }>, call: { traceId: string } | null }> }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean } } | null };

export type CompareRunsQueryVariables = Exact<{
  projectId: string;
  callIds: Array<string> | string;
}>;


export type CompareRunsQuery = { evaluationCompare: { numInCommon: number, runs: Array<{ id: string, displayName: string | null, usage: { cost: number | null } }>, metrics: Array<{ name: string, runs: Array<{ runId: string, mean: number | null, difference: number | null, numHigher: number | null, numLower: number | null, numEqual: number | null }> }> } | null };

export type ComparedRowsQueryVariables = Exact<{
  projectId: string;
  callIds: Array<string> | string;
  sortBy?: Array<SortBy> | SortBy | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
  offset?: number | null | undefined;
}>;


export type ComparedRowsQuery = { evaluationCompare: { rows: { nodes: Array<{ exampleDigest: string, example: unknown, runs: Array<{ runId: string, predictions: Array<{ id: string, output: unknown, exception: string | null }>, metrics: Array<{ name: string, mean: number | null, difference: number | null }> }> }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean } } } | null };

export type ObjectsQueryVariables = Exact<{
  projectId: string;
  filter?: ObjectVersionFilter | null | undefined;
  first: number;
  after?: string | null | undefined;
}>;


export type ObjectsQuery = { objs: { totalCount: number, nodes: Array<{ objectId: string, digest: string, versionIndex: number, baseObjectClass: string | null, leafObjectClass: string | null, createdAt: string, sizeBytes: number | null, wbUserId: string | null }>, pageInfo: { hasNextPage: boolean, endCursor: string | null } } | null };

export type ObjectQueryVariables = Exact<{
  projectId: string;
  objectId: string;
  digest: string;
}>;


export type ObjectQuery = { obj: { ref: string, objectId: string, digest: string, versionIndex: number, isLatest: number, baseObjectClass: string | null, leafObjectClass: string | null, createdAt: string, sizeBytes: number | null, wbUserId: string | null, val: unknown, files: Array<{ name: string, digest: string, file: { contentType: string, sizeBytes: number } | null }>, table: { digest: string, count: number } | null, versions: { totalCount: number, nodes: Array<{ digest: string, versionIndex: number, createdAt: string }> }, usedBy: { pageInfo: { hasNextPage: boolean }, nodes: Array<{ id: string, traceId: string, traceName: string, status: TraceStatus, startedAt: string }> }, evaluationRuns: { pageInfo: { hasNextPage: boolean }, nodes: Array<{ id: string, displayName: string | null, startedAt: string, status: EvaluationStatusCode }> } } | null };

export type ObjectValueQueryVariables = Exact<{
  projectId: string;
  objectId: string;
  digest: string;
}>;


export type ObjectValueQuery = { obj: { val: unknown, versionIndex: number } | null };

export type TableRowsQueryVariables = Exact<{
  projectId: string;
  digest: string;
  query?: QueryInput | null | undefined;
  sortBy?: Array<SortBy> | SortBy | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
  offset?: number | null | undefined;
}>;


export type TableRowsQuery = { tableRows: { nodes: Array<{ digest: string, val: unknown, originalIndex: number | null }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean } } | null };

export type PlaygroundCallQueryVariables = Exact<{
  projectId: string;
  id: string;
}>;


export type PlaygroundCallQuery = { call: { id: string, traceId: string, traceName: string, model: string | null, provider: string | null, inputs: unknown, output: unknown, exception: string | null, latencyMs: number | null, totalTokens: number | null, totalCost: number | null, messages: Array<{ role: string, name: string | null, finishReason: string | null, parts: Array<
        | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
        | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
        | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
        | { __typename: 'ReasoningPart', text: string }
        | { __typename: 'RefusalPart', text: string }
        | { __typename: 'TextPart', text: string }
        | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
        | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
      > }> | null, outputMessages: Array<{ role: string, name: string | null, finishReason: string | null, parts: Array<
        | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
        | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
        | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
        | { __typename: 'ReasoningPart', text: string }
        | { __typename: 'RefusalPart', text: string }
        | { __typename: 'TextPart', text: string }
        | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
        | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
      > }> | null } | null };

export type CompleteSubscriptionVariables = Exact<{
  projectId: string;
  inputs: CompletionsCreateRequestInputs;
  trackLlmCall?: boolean | null | undefined;
}>;


export type CompleteSubscription = { completionsCreateStream: { type: CompletionEventType, text: string | null, weaveCallId: string | null, response: unknown, call: { id: string, traceId: string, latencyMs: number | null, totalTokens: number | null, totalCost: number | null } | null } };

export type ProjectsQueryVariables = Exact<{
  first: number;
  after?: string | null | undefined;
}>;


export type ProjectsQuery = { projects: { nodes: Array<{ id: string, callCount: number, lastActivityAt: string | null }>, pageInfo: { hasNextPage: boolean, endCursor: string | null } } | null };

export type ProjectActivityQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  timezone?: string | null | undefined;
}>;


export type ProjectActivityQuery = { callsAggregate: { rows: Array<{ bucketStart: string | null, count: number, errorCount: number, cost: number | null }> } | null };

export type RoleQueryVariables = Exact<{
  projectId: string;
}>;


export type RoleQuery = { role: Role | null };

export type SearchQueryVariables = Exact<{
  projectId: string;
  text: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
}>;


export type SearchQuery = { search: { nodes: Array<{ call: { id: string, ref: string, traceId: string, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, latencyMs: number | null, model: string | null, totalTokens: number | null, totalCost: number | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null, errorType: string | null }, highlights: Array<{ field: CallSearchField, path: string | null, snippet: string, isCutBefore: boolean, isCutAfter: boolean, ranges: Array<{ start: number, end: number }> }> }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean } } | null };

export type ThreadsQueryVariables = Exact<{
  projectId: string;
  filter?: ThreadsQueryFilter | null | undefined;
  sortBy?: Array<SortBy> | SortBy | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
  offset?: number | null | undefined;
}>;


export type ThreadsQuery = { threads: { nodes: Array<{ threadId: string, turnCount: number, startTime: string, lastUpdated: string, p50TurnDurationMs: number | null, p99TurnDurationMs: number | null, numCalls: number, numErrors: number, totalTokens: number, totalCost: number | null, users: Array<string> }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean, hasPreviousPage: boolean } } | null };

export type ThreadsCountQueryVariables = Exact<{
  projectId: string;
  filter?: ThreadsQueryFilter | null | undefined;
}>;


export type ThreadsCountQuery = { threads: { totalCount: number } | null };

export type ThreadQueryVariables = Exact<{
  projectId: string;
  threadId: string;
  first: number;
  after?: string | null | undefined;
}>;


export type ThreadQuery = { thread: { threadId: string, turnCount: number, startTime: string, lastUpdated: string, p50TurnDurationMs: number | null, p99TurnDurationMs: number | null, numCalls: number, numErrors: number, totalTokens: number, totalCost: number | null, users: Array<string>, conversation: Array<{ call: { turnId: string | null } | null, message: { role: string, name: string | null, finishReason: string | null, parts: Array<
          | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
          | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
          | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
          | { __typename: 'ReasoningPart', text: string }
          | { __typename: 'RefusalPart', text: string }
          | { __typename: 'TextPart', text: string }
          | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
          | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
        > } }> | null, turns: { nodes: Array<{ id: string, traceId: string, traceName: string, status: TraceStatus, startedAt: string, latencyMs: number | null, exception: string | null, traceCost: number | null, traceErrors: number | null, messages: Array<{ role: string, name: string | null, finishReason: string | null, parts: Array<
            | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
            | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
            | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
            | { __typename: 'ReasoningPart', text: string }
            | { __typename: 'RefusalPart', text: string }
            | { __typename: 'TextPart', text: string }
            | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
            | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
          > }> | null, outputMessages: Array<{ role: string, name: string | null, finishReason: string | null, parts: Array<
            | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
            | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
            | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
            | { __typename: 'ReasoningPart', text: string }
            | { __typename: 'RefusalPart', text: string }
            | { __typename: 'TextPart', text: string }
            | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
            | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
          > }> | null, feedback: { nodes: Array<{ id: string, feedbackType: string, payload: unknown }> } }>, pageInfo: { hasNextPage: boolean, endCursor: string | null } } } | null };

export type TraceHeadQueryVariables = Exact<{
  projectId: string;
  traceId: string;
}>;


export type TraceHeadQuery = { trace: { traceId: string, name: string | null, kind: CallKind | null, status: TraceStatus | null, startedAt: string | null, endedAt: string | null, latencyMs: number | null, numCalls: number, numErrors: number, totalTokens: number, totalCost: number | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null } | null };

export type TraceTreeQueryVariables = Exact<{
  projectId: string;
  traceId: string;
  first: number;
  after?: string | null | undefined;
}>;


export type TraceTreeQuery = { trace: { tree: { nodes: Array<{ parentId: string | null, call: { id: string, parentId: string | null, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, endedAt: string | null, model: string | null, totalTokens: number | null } }>, pageInfo: { hasNextPage: boolean, endCursor: string | null } } } | null };

export type TreeCallFragment = { id: string, parentId: string | null, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, endedAt: string | null, model: string | null, totalTokens: number | null };

export type TraceCostsQueryVariables = Exact<{
  projectId: string;
  traceId: string;
}>;


export type TraceCostsQuery = { usageTree: Array<{ id: string, ownUsage: { totalTokens: number, cost: number | null }, totalUsage: { totalTokens: number, cost: number | null } }> | null };

export type TraceChangesSubscriptionVariables = Exact<{
  projectId: string;
  filter: CallsFilter;
  after?: string | null | undefined;
}>;


export type TraceChangesSubscription = { callEvents: { type: CallEventType, cursor: string, call: { id: string, parentId: string | null, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, endedAt: string | null, model: string | null, totalTokens: number | null } } };

export type CallDetailsQueryVariables = Exact<{
  projectId: string;
  id: string;
}>;


export type CallDetailsQuery = { call: { id: string, ref: string, traceId: string, parentId: string | null, opName: string, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, endedAt: string | null, latencyMs: number | null, timeToFirstTokenMs: number | null, model: string | null, provider: string | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null, errorType: string | null, exception: string | null, finishReasons: Array<string> | null, attributes: unknown, inputs: unknown, output: unknown, summary: unknown, totalTokens: number | null, totalCost: number | null, messages: Array<{ role: string, name: string | null, finishReason: string | null, parts: Array<
        | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
        | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
        | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
        | { __typename: 'ReasoningPart', text: string }
        | { __typename: 'RefusalPart', text: string }
        | { __typename: 'TextPart', text: string }
        | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
        | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
      > }> | null, outputMessages: Array<{ role: string, name: string | null, finishReason: string | null, parts: Array<
        | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
        | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
        | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
        | { __typename: 'ReasoningPart', text: string }
        | { __typename: 'RefusalPart', text: string }
        | { __typename: 'TextPart', text: string }
        | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
        | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
      > }> | null, costs: Array<{ model: string, requests: number | null, totalTokens: number | null, totalCost: number | null, uncachedInputTokens: number, cacheReadTokens: number, cacheWrite5mTokens: number, cacheWrite1hTokens: number, reasoningTokens: number, outputTokens: number | null }>, usage: Array<{ model: string, requests: number | null, totalTokens: number | null, inputTokens: number | null, outputTokens: number | null, cacheReadTokens: number, reasoningTokens: number }>, inputRefs: Array<{ ref: string, kind: string }>, outputRefs: Array<{ ref: string, kind: string }>, prompt: { objectId: string, digest: string, versionIndex: number } | null, feedback: { nodes: Array<{ id: string, feedbackType: string, payload: unknown, creator: string | null, wbUserId: string | null, createdAt: string }> } } | null };

export type MessageFragment = { role: string, name: string | null, finishReason: string | null, parts: Array<
    | { __typename: 'AudioPart', url: string | null, ref: string | null, mediaType: string | null, audioName: string | null }
    | { __typename: 'FilePart', url: string | null, ref: string | null, fileId: string | null, mediaType: string | null, fileName: string | null }
    | { __typename: 'ImagePart', url: string | null, ref: string | null, data: string | null, mediaType: string | null, imageName: string | null }
    | { __typename: 'ReasoningPart', text: string }
    | { __typename: 'RefusalPart', text: string }
    | { __typename: 'TextPart', text: string }
    | { __typename: 'ToolCallPart', arguments: unknown, callId: string | null, toolName: string | null }
    | { __typename: 'ToolResultPart', result: unknown, resultId: string | null }
  > };

export type GiveFeedbackMutationVariables = Exact<{
  projectId: string;
  weaveRef: string;
  feedbackType: string;
  payload: unknown;
  annotationRef?: string | null | undefined;
}>;


export type GiveFeedbackMutation = { feedbackCreate: { id: string } | null };

export type AnnotationFormsQueryVariables = Exact<{
  projectId: string;
}>;


export type AnnotationFormsQuery = { objs: { nodes: Array<{ ref: string, objectId: string, val: unknown }> } | null };

export type RemoveFeedbackMutationVariables = Exact<{
  projectId: string;
  query: QueryInput;
}>;


export type RemoveFeedbackMutation = { feedbackPurge: { numPurged: number } | null };

export type TracesQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  sortBy?: Array<SortBy> | SortBy | null | undefined;
  totals?: QueryInput | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
  offset?: number | null | undefined;
}>;


export type TracesQuery = { traces: { nodes: Array<{ traceId: string, name: string | null, kind: CallKind | null, status: TraceStatus | null, startedAt: string | null, latencyMs: number | null, numCalls: number, numErrors: number, totalTokens: number, totalCost: number | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null, root: { id: string, ref: string } | null }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean, hasPreviousPage: boolean } } | null };

export type ValuesQueryVariables = Exact<{
  projectId: string;
  callIds: Array<string> | string;
  inputs?: string | null | undefined;
  hasInputs: boolean;
  output?: string | null | undefined;
  hasOutput: boolean;
  attributes?: string | null | undefined;
  hasAttributes: boolean;
  summary?: string | null | undefined;
  hasSummary: boolean;
}>;


export type ValuesQuery = { calls: { nodes: Array<{ id: string, inputs?: unknown, output?: unknown, attributes?: unknown, summary?: unknown }> } | null };

export type MarkedCallsQueryVariables = Exact<{
  projectId: string;
  callIds: Array<string> | string;
}>;


export type MarkedCallsQuery = { calls: { nodes: Array<{ id: string, ref: string, traceId: string }> } | null };

export type TracesCountQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  totals?: QueryInput | null | undefined;
}>;


export type TracesCountQuery = { traces: { totalCount: number } | null };

export type CallsQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  sortBy?: Array<SortBy> | SortBy | null | undefined;
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
  offset?: number | null | undefined;
}>;


export type CallsQuery = { calls: { nodes: Array<{ id: string, ref: string, traceId: string, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, latencyMs: number | null, model: string | null, totalTokens: number | null, totalCost: number | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null, errorType: string | null }>, pageInfo: { startCursor: string | null, endCursor: string | null, hasNextPage: boolean, hasPreviousPage: boolean } } | null };

export type CallRowFragment = { id: string, ref: string, traceId: string, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, latencyMs: number | null, model: string | null, totalTokens: number | null, totalCost: number | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null, errorType: string | null };

export type CallsCountQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
}>;


export type CallsCountQuery = { callsStats: { count: number } | null };

export type HistogramQueryVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  bucket: TimeBucket;
  timezone?: string | null | undefined;
}>;


export type HistogramQuery = { callsAggregate: { rows: Array<{ bucketStart: string | null, bucketEnd: string | null, count: number, errorCount: number }> } | null };

export type FacetsQueryVariables = Exact<{
  projectId: string;
  fields: Array<string> | string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  limit?: number | null | undefined;
}>;


export type FacetsQuery = { callsFacets: Array<{ field: string, values: Array<{ value: unknown, isStart: boolean, count: number }>, histogram: Array<{ from: number, to: number, count: number }> | null }> | null };

export type PathsQueryVariables = Exact<{
  projectId: string;
}>;


export type PathsQuery = { callsPaths: { paths: Array<{ path: string, share: number, example: unknown }> } | null };

export type EventsCursorQueryVariables = Exact<{
  projectId: string;
}>;


export type EventsCursorQuery = { callEventsCursor: string | null };

export type NewCallsSubscriptionVariables = Exact<{
  projectId: string;
  filter?: CallsFilter | null | undefined;
  query?: QueryInput | null | undefined;
  after?: string | null | undefined;
}>;


export type NewCallsSubscription = { callEvents: { type: CallEventType, cursor: string, call: { id: string, ref: string, traceId: string, traceName: string, kind: CallKind | null, status: TraceStatus, startedAt: string, latencyMs: number | null, model: string | null, totalTokens: number | null, totalCost: number | null, userId: string | null, threadId: string | null, tags: Array<string> | null, environment: string | null, release: string | null, errorType: string | null } } };

export type DeleteCallsMutationVariables = Exact<{
  projectId: string;
  callIds: Array<string> | string;
}>;


export type DeleteCallsMutation = { callsDelete: { numDeleted: number } | null };

export type GiveFeedbackToManyMutationVariables = Exact<{
  batch: Array<FeedbackCreateReq> | FeedbackCreateReq;
}>;


export type GiveFeedbackToManyMutation = { feedbackCreateBatch: { res: Array<{ id: string }> } | null };

export type CallContentsQueryVariables = Exact<{
  projectId: string;
  callIds: Array<string> | string;
}>;


export type CallContentsQuery = { calls: { nodes: Array<{ id: string, inputs: unknown, output: unknown }> } | null };

export type DatasetsQueryVariables = Exact<{
  projectId: string;
}>;


export type DatasetsQuery = { objs: { nodes: Array<{ objectId: string, table: { count: number } | null }> } | null };

export type DatasetQueryVariables = Exact<{
  projectId: string;
  objectId: string;
}>;


export type DatasetQuery = { obj: { val: unknown, baseObjectClass: string | null, table: { digest: string } | null } | null };

export type CreateTableMutationVariables = Exact<{
  table: TableSchemaForInsert;
}>;


export type CreateTableMutation = { tableCreate: { digest: string } | null };

export type ExtendTableMutationVariables = Exact<{
  projectId: string;
  baseDigest: string;
  updates: Array<TableUpdateSpec> | TableUpdateSpec;
}>;


export type ExtendTableMutation = { tableUpdate: { digest: string } | null };

export type CreateObjectMutationVariables = Exact<{
  obj: ObjSchemaForInsert;
}>;


export type CreateObjectMutation = { objCreate: { digest: string } | null };

export class TypedDocumentString<TResult, TVariables>
  extends String
  implements DocumentTypeDecoration<TResult, TVariables>
{
  __apiType?: NonNullable<DocumentTypeDecoration<TResult, TVariables>['__apiType']>;
  private value: string;
  public __meta__?: Record<string, any> | undefined;

  constructor(value: string, __meta__?: Record<string, any> | undefined) {
    super(value);
    this.value = value;
    this.__meta__ = __meta__;
  }

  override toString(): string & DocumentTypeDecoration<TResult, TVariables> {
    return this.value;
  }
}
export const TreeCallFragmentDoc = new TypedDocumentString(`
    fragment TreeCall on CallSchema {
  id
  parentId
  traceName
  kind
  status
  startedAt
  endedAt
  model
  totalTokens
}
    `, {"fragmentName":"TreeCall"}) as unknown as TypedDocumentString<TreeCallFragment, unknown>;
export const MessageFragmentDoc = new TypedDocumentString(`
    fragment Message on ChatMessage {
  role
  name
  finishReason
  parts {
    __typename
    ... on TextPart {
      text
    }
    ... on ReasoningPart {
      text
    }
    ... on RefusalPart {
      text
    }
    ... on ImagePart {
      url
      ref
      data
      mediaType
      imageName: name
    }
    ... on AudioPart {
      url
      ref
      mediaType
      audioName: name
    }
    ... on FilePart {
      url
      ref
      fileId
      mediaType
      fileName: name
    }
    ... on ToolCallPart {
      callId: id
      toolName: name
      arguments
    }
    ... on ToolResultPart {
      resultId: id
      result
    }
  }
}
    `, {"fragmentName":"Message"}) as unknown as TypedDocumentString<MessageFragment, unknown>;
export const CallRowFragmentDoc = new TypedDocumentString(`
    fragment CallRow on CallSchema {
  id
  ref
  traceId
  traceName
  kind
  status
  startedAt
  latencyMs
  model
  totalTokens
  totalCost
  userId
  threadId
  tags
  environment
  release
  errorType
}
    `, {"fragmentName":"CallRow"}) as unknown as TypedDocumentString<CallRowFragment, unknown>;
export const ChartDocument = new TypedDocumentString(`
    query Chart($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $groupBy: [CallsGroupBy!]!, $bucket: TimeBucket!, $timezone: String) {
  callsAggregate(
    projectId: $projectId
    filter: $filter
    query: $query
    groupBy: $groupBy
    bucket: $bucket
    timezone: $timezone
    limit: 10000
  ) {
    usesRollups
    rows {
      bucketStart
      bucketEnd
      opName
      model
      userId
      release
      environment
      kind
      count
      errorCount
      p50LatencyMs
      p95LatencyMs
      p99LatencyMs
      totalTokens
      cost
    }
  }
}
    `, {"hash":"sha256:3e03826ad9152336cbe3c63abc548b8964a266b8a80863be392ac10e6effbe45"}) as unknown as TypedDocumentString<ChartQuery, ChartQueryVariables>;
export const FeedbackChartDocument = new TypedDocumentString(`
    query FeedbackChart($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $bucket: TimeBucket!, $timezone: String, $numbers: [String!]!) {
  callsAggregate(
    projectId: $projectId
    filter: $filter
    query: $query
    groupBy: [TIME_BUCKET]
    bucket: $bucket
    timezone: $timezone
    numbers: $numbers
    limit: 10000
  ) {
    rows {
      bucketStart
      numbers {
        field
        average
        count
      }
    }
  }
}
    `, {"hash":"sha256:f87576a86e0757f546bd220b1e47cb1973db41a40d1b474b2426f9d4a87d0c27"}) as unknown as TypedDocumentString<FeedbackChartQuery, FeedbackChartQueryVariables>;
export const EvaluationRunsDocument = new TypedDocumentString(`
    query EvaluationRuns($projectId: ID!, $first: Int!, $after: String) {
  evaluationRuns(projectId: $projectId, first: $first, after: $after) {
    totalCount
    nodes {
      id
      displayName
      status
      startedAt
      latencyMs
      trials
      evaluation {
        ref
      }
      model {
        ref
      }
      dataset {
        ref
      }
      metrics {
        name
        mean
        count
        trueCount
      }
      usage {
        totalTokens
        cost
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
    `, {"hash":"sha256:04b229ff67fda1d129e230cc47e7515034fe1a74e3e1d09a74291042cf84ba8e"}) as unknown as TypedDocumentString<EvaluationRunsQuery, EvaluationRunsQueryVariables>;
export const EvaluationRunDocument = new TypedDocumentString(`
    query EvaluationRun($projectId: ID!, $callId: ID!) {
  evaluationRun(projectId: $projectId, callId: $callId) {
    displayName
  }
}
    `, {"hash":"sha256:38132178008bda1841497104aa3cfbce017d69eec0ec11953a4b09feec7b3e29"}) as unknown as TypedDocumentString<EvaluationRunQuery, EvaluationRunQueryVariables>;
export const EvaluationRowsCountDocument = new TypedDocumentString(`
    query EvaluationRowsCount($projectId: ID!, $evaluationCallId: ID!, $query: QueryInput) {
  evaluationResults(
    projectId: $projectId
    evaluationCallId: $evaluationCallId
    query: $query
    first: 1
  ) {
    totalCount
  }
}
    `, {"hash":"sha256:bbd06258a83f3ea285c1734abcdb51ceddca58dd31a3277328ddda6878203ed5"}) as unknown as TypedDocumentString<EvaluationRowsCountQuery, EvaluationRowsCountQueryVariables>;
export const EvaluationRowsDocument = new TypedDocumentString(`
    query EvaluationRows($projectId: ID!, $evaluationCallId: ID!, $sortBy: [SortBy!], $query: QueryInput, $first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
  evaluationResults(
    projectId: $projectId
    evaluationCallId: $evaluationCallId
    sortBy: $sortBy
    query: $query
    first: $first
    after: $after
    last: $last
    before: $before
    offset: $offset
  ) {
    nodes {
      exampleDigest
      example
      predictions {
        id
        trial
        status
        exception
        latencyMs
        output
        scores {
          name
          value
          exception
        }
        call {
          traceId
        }
      }
    }
    pageInfo {
      startCursor
      endCursor
      hasNextPage
    }
  }
}
    `, {"hash":"sha256:f219613ae745c9b21e9be24c66b2a8f93ef358adebf2944974955b02fd35c1dd"}) as unknown as TypedDocumentString<EvaluationRowsQuery, EvaluationRowsQueryVariables>;
export const CompareRunsDocument = new TypedDocumentString(`
    query CompareRuns($projectId: ID!, $callIds: [ID!]!) {
  evaluationCompare(projectId: $projectId, callIds: $callIds) {
    numInCommon
    runs {
      id
      displayName
      usage {
        cost
      }
    }
    metrics {
      name
      runs {
        runId
        mean
        difference
        numHigher
        numLower
        numEqual
      }
    }
  }
}
    `, {"hash":"sha256:2a9877426c306f3904994f441821f953e383b2b7ea9a508f69ae5e028353d59c"}) as unknown as TypedDocumentString<CompareRunsQuery, CompareRunsQueryVariables>;
export const ComparedRowsDocument = new TypedDocumentString(`
    query ComparedRows($projectId: ID!, $callIds: [ID!]!, $sortBy: [SortBy!], $first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
  evaluationCompare(projectId: $projectId, callIds: $callIds) {
    rows(
      first: $first
      after: $after
      last: $last
      before: $before
      offset: $offset
      sortBy: $sortBy
    ) {
      nodes {
        exampleDigest
        example
        runs {
          runId
          predictions {
            id
            output
            exception
          }
          metrics {
            name
            mean
            difference
          }
        }
      }
      pageInfo {
        startCursor
        endCursor
        hasNextPage
      }
    }
  }
}
    `, {"hash":"sha256:6e8982eebefe31fac9a33480d786808eb7afc793868f95a6b45e94db0b946cba"}) as unknown as TypedDocumentString<ComparedRowsQuery, ComparedRowsQueryVariables>;
export const ObjectsDocument = new TypedDocumentString(`
    query Objects($projectId: ID!, $filter: ObjectVersionFilter, $first: Int!, $after: String) {
  objs(
    projectId: $projectId
    filter: $filter
    sortBy: [{field: "created_at", direction: DESC}]
    first: $first
    after: $after
  ) {
    totalCount
    nodes {
      objectId
      digest
      versionIndex
      baseObjectClass
      leafObjectClass
      createdAt
      sizeBytes
      wbUserId
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
    `, {"hash":"sha256:e3a96de4a7356206d164da47a7808cca9e1650c7440d0b817e5fec1c2b063509"}) as unknown as TypedDocumentString<ObjectsQuery, ObjectsQueryVariables>;
export const ObjectDocument = new TypedDocumentString(`
    query Object($projectId: ID!, $objectId: String!, $digest: String!) {
  obj(projectId: $projectId, objectId: $objectId, digest: $digest) {
    ref
    objectId
    digest
    versionIndex
    isLatest
    baseObjectClass
    leafObjectClass
    createdAt
    sizeBytes
    wbUserId
    val
    files {
      name
      digest
      file {
        contentType
        sizeBytes
      }
    }
    table {
      digest
      count
    }
    versions(last: 200) {
      totalCount
      nodes {
        digest
        versionIndex
        createdAt
      }
    }
    usedBy(first: 20) {
      pageInfo {
        hasNextPage
      }
      nodes {
        id
        traceId
        traceName
        status
        startedAt
      }
    }
    evaluationRuns(first: 20) {
      pageInfo {
        hasNextPage
      }
      nodes {
        id
        displayName
        startedAt
        status
      }
    }
  }
}
    `, {"hash":"sha256:edfcc5c5ac2ad99ac8a3eb6b43b74c008dbb4e09a9960288828bcaa649ac6fbd"}) as unknown as TypedDocumentString<ObjectQuery, ObjectQueryVariables>;
export const ObjectValueDocument = new TypedDocumentString(`
    query ObjectValue($projectId: ID!, $objectId: String!, $digest: String!) {
  obj(projectId: $projectId, objectId: $objectId, digest: $digest) {
    val
    versionIndex
  }
}
    `, {"hash":"sha256:bae0f8a2c9a72af87cf60e99b3c2299b1cd925d7f19d0277a983060657f8101e"}) as unknown as TypedDocumentString<ObjectValueQuery, ObjectValueQueryVariables>;
export const TableRowsDocument = new TypedDocumentString(`
    query TableRows($projectId: ID!, $digest: String!, $query: QueryInput, $sortBy: [SortBy!], $first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
  tableRows(
    projectId: $projectId
    digest: $digest
    query: $query
    sortBy: $sortBy
    first: $first
    after: $after
    last: $last
    before: $before
    offset: $offset
  ) {
    nodes {
      digest
      val
      originalIndex
    }
    pageInfo {
      startCursor
      endCursor
      hasNextPage
    }
  }
}
    `, {"hash":"sha256:01ab13f5dd299992f485be072c1bfae4504721ba39092971f785b32d74ec0cad"}) as unknown as TypedDocumentString<TableRowsQuery, TableRowsQueryVariables>;
export const PlaygroundCallDocument = new TypedDocumentString(`
    query PlaygroundCall($projectId: ID!, $id: ID!) {
  call(projectId: $projectId, id: $id) {
    id
    traceId
    traceName
    model
    provider
    inputs
    output
    exception
    latencyMs
    totalTokens
    totalCost
    messages(last: 200) {
      ...Message
    }
    outputMessages(first: 20) {
      ...Message
    }
  }
}
    fragment Message on ChatMessage {
  role
  name
  finishReason
  parts {
    __typename
    ... on TextPart {
      text
    }
    ... on ReasoningPart {
      text
    }
    ... on RefusalPart {
      text
    }
    ... on ImagePart {
      url
      ref
      data
      mediaType
      imageName: name
    }
    ... on AudioPart {
      url
      ref
      mediaType
      audioName: name
    }
    ... on FilePart {
      url
      ref
      fileId
      mediaType
      fileName: name
    }
    ... on ToolCallPart {
      callId: id
      toolName: name
      arguments
    }
    ... on ToolResultPart {
      resultId: id
      result
    }
  }
}`, {"hash":"sha256:dd9a097ec9eeb1a8fcaf49e819c16bb723372d62fd670bc18d61e764a48eab0e"}) as unknown as TypedDocumentString<PlaygroundCallQuery, PlaygroundCallQueryVariables>;
export const CompleteDocument = new TypedDocumentString(`
    subscription Complete($projectId: ID!, $inputs: CompletionsCreateRequestInputs!, $trackLlmCall: Boolean) {
  completionsCreateStream(
    projectId: $projectId
    inputs: $inputs
    trackLlmCall: $trackLlmCall
  ) {
    type
    text
    weaveCallId
    response
    call {
      id
      traceId
      latencyMs
      totalTokens
      totalCost
    }
  }
}
    `, {"hash":"sha256:3f3804f4287d9123dbb339c877ba50633dfbe4f28683e51b195acf208757ef8b"}) as unknown as TypedDocumentString<CompleteSubscription, CompleteSubscriptionVariables>;
export const ProjectsDocument = new TypedDocumentString(`
    query Projects($first: Int!, $after: String) {
  projects(
    first: $first
    after: $after
    sortBy: [{field: "last_activity_at", direction: DESC}]
  ) {
    nodes {
      id
      callCount
      lastActivityAt
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
    `, {"hash":"sha256:28876f389f7908e23a6406a5d5d3cf47cd479f52b37afba9382f005f4297b708"}) as unknown as TypedDocumentString<ProjectsQuery, ProjectsQueryVariables>;
export const ProjectActivityDocument = new TypedDocumentString(`
    query ProjectActivity($projectId: ID!, $filter: CallsFilter, $timezone: String) {
  callsAggregate(
    projectId: $projectId
    filter: $filter
    groupBy: [TIME_BUCKET]
    bucket: DAY
    timezone: $timezone
  ) {
    rows {
      bucketStart
      count
      errorCount
      cost
    }
  }
}
    `, {"hash":"sha256:8156f85fa14e008c849313438ee0a9a4730858263c0658b9f5716312aa81dce7"}) as unknown as TypedDocumentString<ProjectActivityQuery, ProjectActivityQueryVariables>;
export const RoleDocument = new TypedDocumentString(`
    query Role($projectId: ID!) {
  role(projectId: $projectId)
}
    `, {"hash":"sha256:d55472fe620e65fa12922d74b3414b64478cd186aa77a9f6712bc33bd4c24450"}) as unknown as TypedDocumentString<RoleQuery, RoleQueryVariables>;
export const SearchDocument = new TypedDocumentString(`
    query Search($projectId: ID!, $text: String!, $filter: CallsFilter, $query: QueryInput, $first: Int, $after: String, $last: Int, $before: String) {
  search(
    projectId: $projectId
    text: $text
    filter: $filter
    query: $query
    maxHighlights: 2
    first: $first
    after: $after
    last: $last
    before: $before
  ) {
    nodes {
      call {
        ...CallRow
      }
      highlights {
        field
        path
        snippet
        ranges {
          start
          end
        }
        isCutBefore
        isCutAfter
      }
    }
    pageInfo {
      startCursor
      endCursor
      hasNextPage
    }
  }
}
    fragment CallRow on CallSchema {
  id
  ref
  traceId
  traceName
  kind
  status
  startedAt
  latencyMs
  model
  totalTokens
  totalCost
  userId
  threadId
  tags
  environment
  release
  errorType
}`, {"hash":"sha256:93998f82ac10e2c943e6aa7d976894102fc6258ef748177541e0390ab555e14b"}) as unknown as TypedDocumentString<SearchQuery, SearchQueryVariables>;
export const ThreadsDocument = new TypedDocumentString(`
    query Threads($projectId: ID!, $filter: ThreadsQueryFilter, $sortBy: [SortBy!], $first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
  threads(
    projectId: $projectId
    filter: $filter
    sortBy: $sortBy
    first: $first
    after: $after
    last: $last
    before: $before
    offset: $offset
  ) {
    nodes {
      threadId
      turnCount
      startTime
      lastUpdated
      p50TurnDurationMs
      p99TurnDurationMs
      numCalls
      numErrors
      totalTokens
      totalCost
      users
    }
    pageInfo {
      startCursor
      endCursor
      hasNextPage
      hasPreviousPage
    }
  }
}
    `, {"hash":"sha256:f69ea572907b84b576c1ecf929daa268d5e1158438028b35f25591ccc1c9a9fb"}) as unknown as TypedDocumentString<ThreadsQuery, ThreadsQueryVariables>;
export const ThreadsCountDocument = new TypedDocumentString(`
    query ThreadsCount($projectId: ID!, $filter: ThreadsQueryFilter) {
  threads(projectId: $projectId, filter: $filter, first: 0) {
    totalCount
  }
}
    `, {"hash":"sha256:7394d3179f314eb94620bbffc9199768f7bcc76e16b50710bc593532c39d7aaf"}) as unknown as TypedDocumentString<ThreadsCountQuery, ThreadsCountQueryVariables>;
export const ThreadDocument = new TypedDocumentString(`
    query Thread($projectId: ID!, $threadId: String!, $first: Int!, $after: String) {
  thread(projectId: $projectId, threadId: $threadId) {
    threadId
    turnCount
    startTime
    lastUpdated
    p50TurnDurationMs
    p99TurnDurationMs
    numCalls
    numErrors
    totalTokens
    totalCost
    users
    conversation(first: 500) {
      call {
        turnId
      }
      message {
        ...Message
      }
    }
    turns(first: $first, after: $after) {
      nodes {
        id
        traceId
        traceName
        status
        startedAt
        latencyMs
        exception
        traceCost
        traceErrors
        messages(last: 1) {
          ...Message
        }
        outputMessages(last: 2) {
          ...Message
        }
        feedback(last: 5) {
          nodes {
            id
            feedbackType
            payload
          }
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
}
    fragment Message on ChatMessage {
  role
  name
  finishReason
  parts {
    __typename
    ... on TextPart {
      text
    }
    ... on ReasoningPart {
      text
    }
    ... on RefusalPart {
      text
    }
    ... on ImagePart {
      url
      ref
      data
      mediaType
      imageName: name
    }
    ... on AudioPart {
      url
      ref
      mediaType
      audioName: name
    }
    ... on FilePart {
      url
      ref
      fileId
      mediaType
      fileName: name
    }
    ... on ToolCallPart {
      callId: id
      toolName: name
      arguments
    }
    ... on ToolResultPart {
      resultId: id
      result
    }
  }
}`, {"hash":"sha256:6aad0152910c80ec84671feb6a3114c54e6b249e96b18bfc3c9a963aa981ad32"}) as unknown as TypedDocumentString<ThreadQuery, ThreadQueryVariables>;
export const TraceHeadDocument = new TypedDocumentString(`
    query TraceHead($projectId: ID!, $traceId: ID!) {
  trace(projectId: $projectId, traceId: $traceId) {
    traceId
    name
    kind
    status
    startedAt
    endedAt
    latencyMs
    numCalls
    numErrors
    totalTokens
    totalCost
    userId
    threadId
    tags
    environment
    release
  }
}
    `, {"hash":"sha256:d7cfc815fbfc84eb246b0047029d96e3d001dbb992b1fec923e42f3adcf2c857"}) as unknown as TypedDocumentString<TraceHeadQuery, TraceHeadQueryVariables>;
export const TraceTreeDocument = new TypedDocumentString(`
    query TraceTree($projectId: ID!, $traceId: ID!, $first: Int!, $after: String) {
  trace(projectId: $projectId, traceId: $traceId) {
    tree(first: $first, after: $after) {
      nodes {
        parentId
        call {
          ...TreeCall
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
}
    fragment TreeCall on CallSchema {
  id
  parentId
  traceName
  kind
  status
  startedAt
  endedAt
  model
  totalTokens
}`, {"hash":"sha256:438dab77ec2f3b9746754c8ba89d3cc08c8faa9e65084d77613d76efc6f15801"}) as unknown as TypedDocumentString<TraceTreeQuery, TraceTreeQueryVariables>;
export const TraceCostsDocument = new TypedDocumentString(`
    query TraceCosts($projectId: ID!, $traceId: ID!) {
  usageTree(projectId: $projectId, traceId: $traceId) {
    id
    ownUsage {
      totalTokens
      cost
    }
    totalUsage {
      totalTokens
      cost
    }
  }
}
    `, {"hash":"sha256:c792a4996da7464621241e0006633dd960457edef53eaed891cd42d1e19d34b9"}) as unknown as TypedDocumentString<TraceCostsQuery, TraceCostsQueryVariables>;
export const TraceChangesDocument = new TypedDocumentString(`
    subscription TraceChanges($projectId: ID!, $filter: CallsFilter!, $after: String) {
  callEvents(projectId: $projectId, filter: $filter, after: $after) {
    type
    cursor
    call {
      ...TreeCall
    }
  }
}
    fragment TreeCall on CallSchema {
  id
  parentId
  traceName
  kind
  status
  startedAt
  endedAt
  model
  totalTokens
}`, {"hash":"sha256:0bf837192f27997bd252a648f00eca2dbe835b109c3ddbb2e57daa095cab639d"}) as unknown as TypedDocumentString<TraceChangesSubscription, TraceChangesSubscriptionVariables>;
export const CallDetailsDocument = new TypedDocumentString(`
    query CallDetails($projectId: ID!, $id: ID!) {
  call(projectId: $projectId, id: $id) {
    id
    ref
    traceId
    parentId
    opName
    traceName
    kind
    status
    startedAt
    endedAt
    latencyMs
    timeToFirstTokenMs
    model
    provider
    userId
    threadId
    tags
    environment
    release
    errorType
    exception
    finishReasons
    attributes
    inputs
    output
    summary
    totalTokens
    totalCost
    messages(last: 200) {
      ...Message
    }
    outputMessages(first: 200) {
      ...Message
    }
    costs {
      model
      requests
      totalTokens
      totalCost
      uncachedInputTokens
      cacheReadTokens
      cacheWrite5mTokens
      cacheWrite1hTokens
      reasoningTokens
      outputTokens
    }
    usage {
      model
      requests
      totalTokens
      inputTokens
      outputTokens
      cacheReadTokens
      reasoningTokens
    }
    inputRefs {
      ref
      kind
    }
    outputRefs {
      ref
      kind
    }
    prompt {
      objectId
      digest
      versionIndex
    }
    feedback(last: 50) {
      nodes {
        id
        feedbackType
        payload
        creator
        wbUserId
        createdAt
      }
    }
  }
}
    fragment Message on ChatMessage {
  role
  name
  finishReason
  parts {
    __typename
    ... on TextPart {
      text
    }
    ... on ReasoningPart {
      text
    }
    ... on RefusalPart {
      text
    }
    ... on ImagePart {
      url
      ref
      data
      mediaType
      imageName: name
    }
    ... on AudioPart {
      url
      ref
      mediaType
      audioName: name
    }
    ... on FilePart {
      url
      ref
      fileId
      mediaType
      fileName: name
    }
    ... on ToolCallPart {
      callId: id
      toolName: name
      arguments
    }
    ... on ToolResultPart {
      resultId: id
      result
    }
  }
}`, {"hash":"sha256:1e13d830fcc96d505981bcb681e291cfdfcf64412b4f16c715980cea3e6213bc"}) as unknown as TypedDocumentString<CallDetailsQuery, CallDetailsQueryVariables>;
export const GiveFeedbackDocument = new TypedDocumentString(`
    mutation GiveFeedback($projectId: ID!, $weaveRef: String!, $feedbackType: String!, $payload: JSON!, $annotationRef: String) {
  feedbackCreate(
    projectId: $projectId
    weaveRef: $weaveRef
    feedbackType: $feedbackType
    payload: $payload
    annotationRef: $annotationRef
  ) {
    id
  }
}
    `, {"hash":"sha256:af562c2c499ddb6dc4759402a1d880d526d9286994973d12fd99536798b9598e"}) as unknown as TypedDocumentString<GiveFeedbackMutation, GiveFeedbackMutationVariables>;
export const AnnotationFormsDocument = new TypedDocumentString(`
    query AnnotationForms($projectId: ID!) {
  objs(
    projectId: $projectId
    filter: {baseObjectClasses: ["AnnotationSpec"], latestOnly: true}
    first: 100
  ) {
    nodes {
      ref
      objectId
      val
    }
  }
}
    `, {"hash":"sha256:32d6b5eb4f6ffbea0661d1abd9652d917a1be1e50e0d4b3a827ba3287bd9913e"}) as unknown as TypedDocumentString<AnnotationFormsQuery, AnnotationFormsQueryVariables>;
export const RemoveFeedbackDocument = new TypedDocumentString(`
    mutation RemoveFeedback($projectId: ID!, $query: QueryInput!) {
  feedbackPurge(projectId: $projectId, query: $query) {
    numPurged
  }
}
    `, {"hash":"sha256:b63b1c50e1338fc9a11e98bbf5e685e3fe0eeffac4f935b89e762f9b8e2c7492"}) as unknown as TypedDocumentString<RemoveFeedbackMutation, RemoveFeedbackMutationVariables>;
export const TracesDocument = new TypedDocumentString(`
    query Traces($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $sortBy: [SortBy!], $totals: QueryInput, $first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
  traces(
    projectId: $projectId
    filter: $filter
    query: $query
    totals: $totals
    sortBy: $sortBy
    first: $first
    after: $after
    last: $last
    before: $before
    offset: $offset
  ) {
    nodes {
      traceId
      name
      kind
      status
      startedAt
      latencyMs
      numCalls
      numErrors
      totalTokens
      totalCost
      userId
      threadId
      tags
      environment
      release
      root {
        id
        ref
      }
    }
    pageInfo {
      startCursor
      endCursor
      hasNextPage
      hasPreviousPage
    }
  }
}
    `, {"hash":"sha256:9221ea134a89b444ad473bcc2299323513f50bf4f77d4771f363c397090e1090"}) as unknown as TypedDocumentString<TracesQuery, TracesQueryVariables>;
export const ValuesDocument = new TypedDocumentString(`
    query Values($projectId: ID!, $callIds: [ID!]!, $inputs: String, $hasInputs: Boolean!, $output: String, $hasOutput: Boolean!, $attributes: String, $hasAttributes: Boolean!, $summary: String, $hasSummary: Boolean!) {
  calls(projectId: $projectId, filter: {callIds: $callIds}, first: 100) {
    nodes {
      id
      inputs(path: $inputs) @include(if: $hasInputs)
      output(path: $output) @include(if: $hasOutput)
      attributes(path: $attributes) @include(if: $hasAttributes)
      summary(path: $summary) @include(if: $hasSummary)
    }
  }
}
    `, {"hash":"sha256:6a124d9a674fff354632927cff10f98b126a5d0025b670bf6b0c9bd7d0668330"}) as unknown as TypedDocumentString<ValuesQuery, ValuesQueryVariables>;
export const MarkedCallsDocument = new TypedDocumentString(`
    query MarkedCalls($projectId: ID!, $callIds: [ID!]!) {
  calls(projectId: $projectId, filter: {callIds: $callIds}, first: 100) {
    nodes {
      id
      ref
      traceId
    }
  }
}
    `, {"hash":"sha256:9fff7e144dd17e1cdda33952befbacb018925710ce69d296e4ccf119c668823e"}) as unknown as TypedDocumentString<MarkedCallsQuery, MarkedCallsQueryVariables>;
export const TracesCountDocument = new TypedDocumentString(`
    query TracesCount($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $totals: QueryInput) {
  traces(
    projectId: $projectId
    filter: $filter
    query: $query
    totals: $totals
    first: 0
  ) {
    totalCount
  }
}
    `, {"hash":"sha256:94bff1f0bfc06d1a1fa49f2dd4bc730c5f3fae6c3a9d65da797878f6bf6aa5a5"}) as unknown as TypedDocumentString<TracesCountQuery, TracesCountQueryVariables>;
export const CallsDocument = new TypedDocumentString(`
    query Calls($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $sortBy: [SortBy!], $first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
  calls(
    projectId: $projectId
    filter: $filter
    query: $query
    sortBy: $sortBy
    first: $first
    after: $after
    last: $last
    before: $before
    offset: $offset
  ) {
    nodes {
      ...CallRow
    }
    pageInfo {
      startCursor
      endCursor
      hasNextPage
      hasPreviousPage
    }
  }
}
    fragment CallRow on CallSchema {
  id
  ref
  traceId
  traceName
  kind
  status
  startedAt
  latencyMs
  model
  totalTokens
  totalCost
  userId
  threadId
  tags
  environment
  release
  errorType
}`, {"hash":"sha256:c1231f69622da8673c2e26a2aeeca3388ec4b62bf30cdad09ff6d797081fd41d"}) as unknown as TypedDocumentString<CallsQuery, CallsQueryVariables>;
export const CallsCountDocument = new TypedDocumentString(`
    query CallsCount($projectId: ID!, $filter: CallsFilter, $query: QueryInput) {
  callsStats(projectId: $projectId, filter: $filter, query: $query) {
    count
  }
}
    `, {"hash":"sha256:17f77f7e739c204b89d4c036020db8568a32430b5d88c7cc768185d1b74f76f5"}) as unknown as TypedDocumentString<CallsCountQuery, CallsCountQueryVariables>;
export const HistogramDocument = new TypedDocumentString(`
    query Histogram($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $bucket: TimeBucket!, $timezone: String) {
  callsAggregate(
    projectId: $projectId
    filter: $filter
    query: $query
    groupBy: [TIME_BUCKET]
    bucket: $bucket
    timezone: $timezone
    limit: 2000
  ) {
    rows {
      bucketStart
      bucketEnd
      count
      errorCount
    }
  }
}
    `, {"hash":"sha256:b7f8fbc42e05c76748ac05b906f4446d2c99985d095c814d2df6467f1878022b"}) as unknown as TypedDocumentString<HistogramQuery, HistogramQueryVariables>;
export const FacetsDocument = new TypedDocumentString(`
    query Facets($projectId: ID!, $fields: [String!]!, $filter: CallsFilter, $query: QueryInput, $limit: Int) {
  callsFacets(
    projectId: $projectId
    fields: $fields
    filter: $filter
    query: $query
    limit: $limit
  ) {
    field
    values {
      value
      isStart
      count
    }
    histogram {
      from
      to
      count
    }
  }
}
    `, {"hash":"sha256:482be8211a9b9822a59625bd9d6ec60c65a98634f7d7b7754eddd06db0538a35"}) as unknown as TypedDocumentString<FacetsQuery, FacetsQueryVariables>;
export const PathsDocument = new TypedDocumentString(`
    query Paths($projectId: ID!) {
  callsPaths(projectId: $projectId) {
    paths {
      path
      share
      example
    }
  }
}
    `, {"hash":"sha256:457c445d13d73780264514a7f0455d460679dc9eb93bafb58bef37564d3b551f"}) as unknown as TypedDocumentString<PathsQuery, PathsQueryVariables>;
export const EventsCursorDocument = new TypedDocumentString(`
    query EventsCursor($projectId: ID!) {
  callEventsCursor(projectId: $projectId)
}
    `, {"hash":"sha256:c52b71860236bb60470dd2f6680813bd6e3fbd749b7db160eb1cd2efd7361009"}) as unknown as TypedDocumentString<EventsCursorQuery, EventsCursorQueryVariables>;
export const NewCallsDocument = new TypedDocumentString(`
    subscription NewCalls($projectId: ID!, $filter: CallsFilter, $query: QueryInput, $after: String) {
  callEvents(projectId: $projectId, filter: $filter, query: $query, after: $after) {
    type
    cursor
    call {
      ...CallRow
    }
  }
}
    fragment CallRow on CallSchema {
  id
  ref
  traceId
  traceName
  kind
  status
  startedAt
  latencyMs
  model
  totalTokens
  totalCost
  userId
  threadId
  tags
  environment
  release
  errorType
}`, {"hash":"sha256:4380e0aafed6253525c396a264ccb1208bbf6e51e5dbadf341ab002dbf3abd0e"}) as unknown as TypedDocumentString<NewCallsSubscription, NewCallsSubscriptionVariables>;
export const DeleteCallsDocument = new TypedDocumentString(`
    mutation DeleteCalls($projectId: ID!, $callIds: [ID!]!) {
  callsDelete(projectId: $projectId, callIds: $callIds) {
    numDeleted
  }
}
    `, {"hash":"sha256:1902f186c197b40775751345e6a7c2eed84957c96f345abfab7a87edb3611097"}) as unknown as TypedDocumentString<DeleteCallsMutation, DeleteCallsMutationVariables>;
export const GiveFeedbackToManyDocument = new TypedDocumentString(`
    mutation GiveFeedbackToMany($batch: [FeedbackCreateReq!]!) {
  feedbackCreateBatch(batch: $batch) {
    res {
      id
    }
  }
}
    `, {"hash":"sha256:7cc9ac59fc625d92c43d21d7d8fc2c5cac78601abdecd2c9cc842fd6bfb15368"}) as unknown as TypedDocumentString<GiveFeedbackToManyMutation, GiveFeedbackToManyMutationVariables>;
export const CallContentsDocument = new TypedDocumentString(`
    query CallContents($projectId: ID!, $callIds: [ID!]!) {
  calls(projectId: $projectId, filter: {callIds: $callIds}, first: 1000) {
    nodes {
      id
      inputs
      output
    }
  }
}
    `, {"hash":"sha256:92291d7d38221959665a3d5920e7561ee44923ebeabd81f4b87b922fafe490da"}) as unknown as TypedDocumentString<CallContentsQuery, CallContentsQueryVariables>;
export const DatasetsDocument = new TypedDocumentString(`
    query Datasets($projectId: ID!) {
  objs(
    projectId: $projectId
    filter: {baseObjectClasses: ["Dataset"], latestOnly: true}
    first: 200
  ) {
    nodes {
      objectId
      table {
        count
      }
    }
  }
}
    `, {"hash":"sha256:2714baf8ae8e78aad3f4811a64f07642e589c4661637bb2d625fe0da44a149af"}) as unknown as TypedDocumentString<DatasetsQuery, DatasetsQueryVariables>;
export const DatasetDocument = new TypedDocumentString(`
    query Dataset($projectId: ID!, $objectId: String!) {
  obj(projectId: $projectId, objectId: $objectId) {
    val
    baseObjectClass
    table {
      digest
    }
  }
}
    `, {"hash":"sha256:3d72483f7879865b3da80c63c3299567b01023b1185ef5bda07a32b275b7f44d"}) as unknown as TypedDocumentString<DatasetQuery, DatasetQueryVariables>;
export const CreateTableDocument = new TypedDocumentString(`
    mutation CreateTable($table: TableSchemaForInsert!) {
  tableCreate(table: $table) {
    digest
  }
}
    `, {"hash":"sha256:ec0b2a55b36836c908db5b119464aab67dc8674fdd20abc2d2186c77a8141f15"}) as unknown as TypedDocumentString<CreateTableMutation, CreateTableMutationVariables>;
export const ExtendTableDocument = new TypedDocumentString(`
    mutation ExtendTable($projectId: ID!, $baseDigest: String!, $updates: [TableUpdateSpec!]!) {
  tableUpdate(projectId: $projectId, baseDigest: $baseDigest, updates: $updates) {
    digest
  }
}
    `, {"hash":"sha256:84970b7e6fc4d64972ec99d2012025bc14a750cea329f8381f67ba774961729d"}) as unknown as TypedDocumentString<ExtendTableMutation, ExtendTableMutationVariables>;
export const CreateObjectDocument = new TypedDocumentString(`
    mutation CreateObject($obj: ObjSchemaForInsert!) {
  objCreate(obj: $obj) {
    digest
  }
}
    `, {"hash":"sha256:da0314569db895093cafb2f7df379429ee9d7de8d83210dc4d3cdd84e693ea55"}) as unknown as TypedDocumentString<CreateObjectMutation, CreateObjectMutationVariables>;