// Written by tools/payload_types.py from payload.py and the records that it imports; change it there.

/** A figure at one place along α, with its 95 % interval. */
export interface Reading {
  x: number;
  value: number;
  low: number;
  high: number;
}

/** One figure of one probe along α: on the only line, or its mean over the finished ones. */
export interface Course {
  probe: string;
  /** asr, over_refusal, accuracy, perplexity or margin; or the name of an outcome, whose share it is. */
  kind: string;
  /** The readings, cut where a point between them is not measured yet: no curve is drawn across. At least one. */
  pieces: Reading[][];
  /** Of a measure: its kind, numbered if several have the same. */
  label: string;
  /** The number of the run in a comparison. */
  run: number;
}

/** One probe of over-refusal or capability over all runs of a comparison. */
export interface Panel {
  label: string;
  kind: string;
  /** Of the runs in which it is measured. */
  runs: Course[];
}

/** The outcomes along a stretch of α without a gap, in percent, as the finest judge sees them. */
export interface Shares {
  /** Effective coordinates, ascending; two at least. */
  x: number[];
  /** In the order of a stack; they add up to 100. Without `unscored` if no answer is unscored anywhere. */
  percent: Record<string, number[]>;
}

/** One figure of one probe over a plane. */
export interface Layer {
  probe: string;
  /** As in `Course`. */
  kind: string;
  /** Shape (β, α), both ascending; NaN where it is not measured. */
  values: (number | null)[][];
  label: string;
}

/** The ASR or, of harmless prompts, the over-refusal of one probe at one point, in percent. */
export interface FigureData {
  n: number;
  count: number;
  value: number;
  low: number;
  high: number;
  unscored: number;
}

/** The threshold of the basin. */
export interface LimitData {
  /** Percent. */
  value: number;
  /** What stands beside its line, as HTML; `short` has the value alone. */
  label: string;
  short: string;
}

/** The verdicts of one judge on the answers to one probe at one point. */
export interface OpinionData {
  /** One character an answer: the number of its outcome, `-` where the judge has not read it. */
  outcomes: string;
  /** The probability of compliance an answer; null where the judge states none. */
  probabilities: (number | null)[] | null;
}

/** A measured point. */
export interface PointData {
  /** Its number among the survey's points, which stays the same while a run grows. */
  id: number;
  coords: number[];
  effective: number[];
  /** The number of a checkpoint of the trajectory. */
  waypoint: number | null;
  /** The share of a checkpoint's squared distance from the origin that lies outside of the subspace. */
  off: number;
  /** One a probe. */
  figures: (FigureData | null)[];
  /** One a probe, in each one a judge. */
  answers: OpinionData[][];
}

/** A probe of prompts. */
export interface ProbeData {
  name: string;
  harmful: boolean;
  prompts: string[];
}

/** How far two judges agree on one probe; judges, probe and points by their places in the payload. */
export interface AgreementData {
  judges: number[];
  probe: number;
  table: number[][];
  /** A point's answers that both judges scored, the share on which they agree in percent, and Cohen's κ. */
  at: ([number, number | null, number | null] | null)[];
}

/** A path through points that the reader can follow: a line, a row of a plane, the checkpoints. */
export interface CurveData {
  kind: "line" | "row" | "checkpoints";
  label: string;
  grid: number[];
  /** By place in the payload, one a value of the grid; null where it is not measured. */
  points: (number | null)[];
}

/** A named model other than the origin. */
export interface MarkData {
  label: string;
  point: number;
}

/** The shares of the outcomes along α, stacked, and the ASR that counts compliance alone. */
export interface StackData {
  judge: string;
  shown: string;
  pieces: Shares[];
  strict: Reading[][];
}

/** The α axis of lines. */
export interface ScaleData {
  low: number;
  high: number;
  title: string;
}

/** What is drawn of a run over lines. */
export interface LinesData {
  scale: ScaleData;
  mean: Reading[];
  edges: [number, number] | null;
  /** Whether the basin between the edges is shown to be safe. */
  is_basin_shown: boolean;
  courses: Course[];
  measures: Course[];
  stack: StackData | null;
  /** The ASR by the keyword judge, where the refusal judge contradicts it and the curves are by another; else empty. */
  keyword: Reading[][];
}

/** What is drawn of a run over a plane. */
export interface PlaneData {
  across: number[];
  up: number[];
  alphas: number[][];
  betas: number[][];
  headings: string[];
  layers: Layer[];
}

/** An answer of a sample with its label so far. */
export interface SampledData {
  prompt: string;
  text: string;
  label: string | null;
  skipped: boolean;
}

/** The data of a run's page. */
export interface RunPayload {
  /** The name by which the server knows the run; empty in a file. */
  run: string;
  outcomes: string[];
  judges: string[];
  /** The judge that tells noise from compliance, else the first. */
  finest: number;
  probes: ProbeData[];
  points: PointData[];
  agreement: AgreementData[];
  curves: CurveData[];
  marks: MarkData[];
  limit: LimitData;
  /** Whether the weights are of a dtype that rounds moves. */
  rounded: boolean;
  /** Whether the first axis leads to another model. */
  between: boolean;
  lines: LinesData | null;
  /** Exactly one of `lines` and `plane` is given. */
  plane: PlaneData | null;
}

/** What the model said at one point. Texts and reasons are stored once; rows hold their places. */
export interface AnswersBlock {
  judges: string[];
  finishes: string[];
  texts: string[];
  reasons: string[];
  /** One list a probe, one row an answer: text, finish, tokens, the thought's text (-1: none), its tokens, whether the model ended it, then a reason a judge (-1: not read). */
  answers: number[][][];
}

/** Several runs over lines. */
export interface ComparedLines {
  scale: ScaleData;
  between: boolean;
  /** Their labels are the names of the runs. */
  runs: Course[];
  measures: Panel[];
}

/** Where a named model lies on a plane. */
export interface PlaceData {
  label: string;
  place: number[];
  asr: number;
}

/** The ASR of one run over its plane. */
export interface ComparedMap {
  label: string;
  across: number[];
  up: number[];
  values: (number | null)[][];
  marks: PlaceData[];
}

/** Several runs over planes. */
export interface ComparedPlanes {
  headings: string[];
  runs: ComparedMap[];
}

/** The data of a comparison's page. */
export interface ComparisonPayload {
  limit: LimitData;
  rounded: boolean;
  lines: ComparedLines | null;
  /** Exactly one of `lines` and `planes` is given. */
  planes: ComparedPlanes | null;
}

/** The answers of a sample that a person labels; no point and no verdict. */
export interface LabelPayload {
  /** What a request to store a label must send. */
  token: string;
  labels: string[];
  answers: SampledData[];
}

/** The data of a page that says why there is no other one. */
export interface NoticePayload {
  /** A run whose page this becomes when its first point is measured. */
  run: string | null;
}
