// From a task and its documents to the very requests that lm-evaluation-harness sends: few-shot examples drawn as Python draws
// them, prompts put together, answers to be scored (api/task.py and api/samplers.py there). Nothing is scored here.

import { counted, InputError, locating } from '../errors.js';
import { jsonText } from '../python/format.js';
import { lstrip, pythonString, rstrip } from '../python/text.js';
import { fromData } from '../python/values.js';
import { PythonRandom } from '../python-random.js';
import { type ChatPrompts, type Turn, written } from './chat.js';
import {
  type Dataset,
  datasetKey,
  evaluatedDocs,
  evaluatedSplit,
  fewshotSplit,
  poolDocs,
  poolName,
  poolSplit,
} from './dataset.js';
import type { GenerateRequest, LoglikelihoodRequest } from './scorer.js';
import {
  type Doc,
  exampleTask,
  type HarnessVersion,
  type Reading,
  readDescription,
  readDoc,
  readExample,
  readGenPrefix,
  type Target,
  type Task,
  taskOfVersion,
  usesMutualInformation,
} from './task.js';

/** One document of a task with what is asked about it. */
export interface Instance {
  readonly task: string;
  /** Its place in the evaluated split. */
  readonly docId: number;
  /** The document after process_docs. */
  readonly doc: Doc;
  readonly reading: Reading;
  /** Rows of the few-shot pool in the order of the prompt. */
  readonly fewshot: readonly number[];
  /** The right answer is none of the choices, so that every answer counts as wrong. */
  readonly stray?: true;
  /** For multiple choice one a choice, and one more of each alone where a metric asks; for loglikelihood one; else none. */
  readonly loglikelihood: readonly LoglikelihoodRequest[];
  /** A whole text to be scored. */
  readonly rolling?: string;
  readonly generate?: GenerateRequest;
}

export interface RequestOptions {
  /** Examples before the question; a task whose own num_fewshot is 0 keeps it. The task's own, or 0, unless given. */
  readonly numFewshot?: number;
  /** Of the few-shot draw; 1234 unless given. */
  readonly seed?: number;
  /** Only the first so many documents, or that fraction of them below 1. */
  readonly limit?: number;
  readonly harnessVersion?: HarnessVersion;
  /** Stands before everything, in front of the task's description. */
  readonly systemInstruction?: string;
  /** Asks as in a conversation (see chatPrompts); plain text unless given. */
  readonly chat?: ChatPrompts;
  /** Every `count`th document from `index` on; the examples are those of the whole run. */
  readonly shard?: Shard;
}

export interface Shard {
  readonly index: number;
  readonly count: number;
}

export const FEWSHOT_SEED = 1234;

/** How many examples a task is given when `asked` are asked for. */
export function shotsOf(task: Task, asked: number | undefined): number {
  return task.num_fewshot === 0 ? 0 : (asked ?? task.num_fewshot ?? 0);
}

/** How many of `total` documents `limit` leaves. Throws `InputError` unless it is a positive number. */
export function limited(total: number, limit: number | undefined): number {
  if (limit === undefined) return total;
  if (!(limit > 0)) {
    throw new InputError(
      (option) => `${option('limit')} is ${limit}; it must be a positive number of documents, or a fraction below 1`,
    );
  }
  return Math.min(total, limit < 1 ? Math.ceil(total * limit) : Math.floor(limit));
}

/**
 * All instances of a task, in document order. `dataset` has the rows by split.
 * Throws `InputError` naming task, dataset, split and document for a missing split or column, an answer that is no choice, and
 * a few-shot pool that is too small.
 */
export function buildRequests(task: Task, dataset: Dataset, options: RequestOptions = {}): Instance[] {
  return [...eachInstance(task, dataset, options)];
}

/** As `buildRequests`, one after the other: a stranger's templates may take their time. */
export function* eachInstance(task: Task, dataset: Dataset, options: RequestOptions = {}): Generator<Instance> {
  const version = options.harnessVersion ?? '0.4.13';
  const ours = taskOfVersion(task, version);
  const docs = evaluatedDocs(ours, { [datasetKey(ours)]: dataset });
  const shots = shotsOf(ours, options.numFewshot);
  if (!Number.isSafeInteger(shots) || shots < 0) throw new InputError(`the number of examples is ${shots}; it must be 0 or more`);
  if (version === 'pinned' && (options.chat || options.systemInstruction))
    throw new InputError('the pinned harness is asked in plain text: leave the chat template and the system instruction out');
  const { index, count } = options.shard ?? { index: 0, count: 1 };
  if (!(Number.isSafeInteger(count) && Number.isSafeInteger(index) && index >= 0 && index < count)) {
    throw new InputError(`shard ${index} of ${count}: the index must be 0 or more and below the count`);
  }
  const examples = shots > 0 && ours.output_type !== 'loglikelihood_rolling' ? new Examples(ours, dataset, shots, options) : null;
  const end = limited(docs.length, options.limit);
  for (let docId = 0; docId < end; docId++) {
    const split = `split "${evaluatedSplit(ours)}"`;
    let doc: Doc | undefined;
    const read = (): Doc => (doc ??= process(ours, docs[docId], split, docId));
    // Documents of other shards are drawn for as well: the stream of random numbers goes on from document to document.
    const fewshot = examples?.draw(read) ?? [];
    if (docId % count !== index) continue;
    const asked = read();
    yield locate(ours, split, docId, () => {
      const { systemInstruction = '', chat } = options;
      const system = delimited(systemInstruction, ours.fewshot_delimiter ?? '\n\n', readDescription(ours, asked, version));
      const before = [...(system === '' ? [] : [turnOf('system', system)]), ...(examples?.turns(fewshot) ?? [])];
      return { task: ours.task, docId, doc: asked, fewshot, ...ask(ours, asked, before, version, chat) };
    });
  }
}

function locate<T>(task: Task, place: string, row: number, work: () => T): T {
  return locating(`task ${task.task}, document ${row} of ${place}`, work);
}

function process(task: Task, doc: Doc, place: string, row: number): Doc {
  const change = task.process_docs;
  return typeof change === 'function' ? locate(task, place, row, () => change(doc)) : doc;
}

/** Draws and writes few-shot examples. */
class Examples {
  private readonly random: PythonRandom;
  private readonly pool: readonly Doc[];
  /** Its rows. */
  private readonly all: readonly number[];
  private readonly first: boolean;
  private readonly drawn: number;
  /** The task as its examples are. */
  private readonly exampleTask: Task;
  /** Whether the evaluated document is kept out of its own prompt. */
  private readonly comparesDocs: boolean;
  private readonly processed = new Map<number, Doc>();
  private readonly keys = new Map<number, string>();
  private readonly asked = new Map<number, readonly Turn[]>();

  constructor(
    private readonly task: Task,
    dataset: Dataset,
    private readonly count: number,
    private readonly options: RequestOptions,
  ) {
    this.random = new PythonRandom(options.seed ?? FEWSHOT_SEED);
    this.pool = poolDocs(task, dataset, count);
    this.all = this.pool.map((_, row) => row);
    this.first = task.fewshot_config?.sampler === 'first_n';
    this.exampleTask = exampleTask(task);
    // The harness compares the two settings, not the splits: a task that names neither draws one more and drops the document.
    const sameSplit = fewshotSplit(task) === task.test_split;
    this.comparesDocs = sameSplit || this.version === 'pinned';
    this.drawn = sameSplit && !this.first ? count + 1 : count;
    if (this.drawn > this.pool.length) {
      const more = this.drawn > count ? ' and one to spare' : '';
      throw new InputError(
        `task ${task.task}: ${counted(count, 'example')}${more} wanted, but the few-shot pool, ${poolName(task)}, has ` +
          `${counted(this.pool.length, 'document')}`,
      );
    }
  }

  private get version(): HarnessVersion {
    return this.options.harnessVersion ?? '0.4.13';
  }

  /** Rows of the pool for the next document, which is kept out where the harness does. */
  draw(read: () => Doc): number[] {
    const { all, count } = this;
    const rows = this.first ? all : this.random.sample(all.length, this.drawn);
    if (!this.comparesDocs) return rows.slice(0, count);
    const key = keyOf(read());
    const others = (of: readonly number[]) => of.filter((row) => this.key(row) !== key);
    const kept = others(rows).slice(0, count);
    if (kept.length === count || this.version === 'pinned') return kept;
    // Copies of the document were drawn: the harness draws again among the others.
    const rest = this.first ? kept : others(all);
    if (rest.length < count) {
      throw new InputError(
        `task ${this.task.task}: ${counted(count, 'example')} wanted, but the few-shot pool, ${poolName(this.task)}, has only ` +
          `${counted(rest.length, 'document')} that are not the evaluated one`,
      );
    }
    return this.random.sample(rest.length, count).map((i) => rest[i]);
  }

  private example(row: number): Doc {
    let doc = this.processed.get(row);
    if (!doc) {
      const samples = poolSplit(this.task) === undefined; // the harness takes them as they are
      doc = samples ? this.pool[row] : process(this.task, this.pool[row], poolName(this.task), row);
      this.processed.set(row, doc);
    }
    return doc;
  }

  private key(row: number): string {
    let key = this.keys.get(row);
    if (key === undefined) {
      key = keyOf(this.example(row));
      this.keys.set(row, key);
    }
    return key;
  }

  turns(rows: readonly number[]): Turn[] {
    return rows.flatMap((row) => this.one(row));
  }

  /** Question and answer. */
  private one(row: number): readonly Turn[] {
    let turns = this.asked.get(row);
    if (turns === undefined) {
      turns = locate(this.task, poolName(this.task), row, () => {
        const task = this.exampleTask;
        const doc = this.example(row);
        const { text, choices, target } = readExample(task, doc, this.version);
        const several = typeof text === 'number';
        const question = several ? choiceAt(choices, text) : text;
        const first = Array.isArray(target) ? target[0] : (target ?? '');
        if (first === undefined) throw new InputError('the list of answers is empty');
        const answer = typeof first === 'number' && choices && !several ? choiceAt(choices, first) : pythonString(first);
        const begun = readGenPrefix(task, doc, this.version);
        const delimiter = task.target_delimiter ?? ' ';
        if (answer === '') return asking(question, delimiter, begun);
        return [
          turnOf('user', question, begun === '' ? delimiter : between(question, delimiter, begun)),
          turnOf('assistant', delimited(begun, ' ', answer), task.fewshot_delimiter ?? '\n\n'),
        ];
      });
      this.asked.set(row, turns);
    }
    return turns;
  }
}

function turnOf(role: Turn['role'], content: string, delimiter = ''): Turn {
  return { role, content, delimiter };
}

/** A question, and how its answer begins. */
function asking(question: string, delimiter: string, begun: string): Turn[] {
  const asked = turnOf('user', question, between(question, delimiter, begun));
  return begun === '' ? [asked] : [asked, turnOf('assistant', begun)];
}

/** Equal for equal documents, whatever the order of their columns. */
function keyOf(doc: Doc): string {
  return jsonText(fromData(doc), { sortKeys: true });
}

/** The delimiter, unless either is nothing or white space is there already. */
function between(before: string, delimiter: string, after: string): string {
  return before === '' || after === '' || rstrip(before) !== before || lstrip(after) !== after ? '' : delimiter;
}

function delimited(before: string, delimiter: string, after: string): string {
  return before + between(before, delimiter, after) + after;
}

/** By index; from the end where it is negative, as in Python. */
function choiceAt(choices: readonly string[] | undefined, index: number): string {
  const choice = choices?.at(index);
  if (choice === undefined) throw new InputError(`the answer's index is ${index}, but there are ${choices?.length ?? 0} choices`);
  return choice;
}

/** The requests about one document, and what its fields say. */
function ask(
  task: Task,
  doc: Doc,
  before: readonly Turn[],
  version: HarnessVersion,
  chat: ChatPrompts | undefined,
): Pick<Instance, 'reading'> & Asked {
  const reading = readDoc(task, doc, version);
  const { text, choices, target } = reading;
  const delimiter = task.target_delimiter ?? ' ';
  const begun = readGenPrefix(task, doc, version);
  const prompt = (): string => written([...before, ...asking(String(text), delimiter, begun)], chat);
  switch (task.output_type) {
    case 'multiple_choice': {
      if (!choices) throw new InputError('a multiple choice task needs doc_to_choice');
      // A template's own text stands before an answer that is not begun.
      const { gen_prefix: begins = '' } = task;
      const space = chat && (begins === '' || rstrip(begins) !== begins) ? '' : delimiter;
      if (typeof text === 'number') {
        choiceAt(choices, text);
        const continuation = space + reading.printed;
        const contexts = choices.map((choice) => written([...before, ...asking(choice, '', begun)], chat));
        return { reading, loglikelihood: contexts.map((context) => ({ context, continuation })) };
      }
      const context = prompt();
      const conditional = choices.map((choice) => ({ context, continuation: space + choice }));
      const alone = usesMutualInformation(task) ? conditional.map(({ continuation }) => ({ context: '', continuation })) : [];
      const isStray = isNoChoice(target, choices);
      return { reading, loglikelihood: [...conditional, ...alone], ...(isStray ? { stray: true as const } : {}) };
    }
    case 'loglikelihood':
      return { reading, loglikelihood: [{ context: prompt(), continuation: pythonString(target) }] };
    case 'loglikelihood_rolling':
      return { reading, loglikelihood: [], rolling: pythonString(target) };
    case 'generate_until': {
      if (choices) for (const item of [target].flat()) typeof item === 'number' && choiceAt(choices, item);
      return { reading, loglikelihood: [], generate: { context: prompt(), ...generation(task) } };
    }
  }
}

type Asked = Pick<Instance, 'loglikelihood' | 'rolling' | 'generate' | 'stray'>;

/** Whether a target names a choice that is not there. */
function isNoChoice(target: Target, choices: readonly string[]): boolean {
  return [target].flat().some((item) => (typeof item === 'number' ? !(item in choices) : !choices.includes(item)));
}

/** What `generation_kwargs` may call the most tokens of an answer, the first that is given counting. */
export const TOKEN_LIMITS = ['max_gen_toks', 'max_new_tokens', 'max_tokens', 'max_completion_tokens'] as const;

/** generation_kwargs with the harness's defaults: greedy, 256 tokens, up to the few-shot delimiter. */
export function generation(task: Task): Omit<GenerateRequest, 'context' | 'sample'> {
  const given = task.generation_kwargs ?? {};
  const until = given.until === undefined ? (task.fewshot_delimiter ?? '\n\n') : (given.until ?? []); // null: only the end of the text
  const limit = TOKEN_LIMITS.map((name) => given[name]).find((value) => value != null);
  const samples = given.do_sample ?? Number(given.temperature ?? 0) > 0;
  return {
    until: [until].flat().map(String),
    maxTokens: Number(limit ?? 256),
    temperature: samples ? Number(given.temperature ?? 1) : 0,
    ...(samples && given.top_p != null ? { topP: Number(given.top_p) } : {}),
  };
}
