// CommonSense-170K (LLM-Adapters, arXiv 2304.01933) as CoreNet trains on it: one prompt text for all its tasks, white space and
// all (commonsense_170k.py). Not its evaluation.

/** What the model is asked in a row of the data set. */
export interface CommonsenseQuestion {
  readonly instruction: string;
  /** Often empty. */
  readonly input: string;
}

// CoreNet's template is indented in its source, and the indentation is part of the text.
const INDENT = ' '.repeat(16);

/** The text before the response. */
export function commonsensePrompt({ instruction, input }: CommonsenseQuestion): string {
  const start = input
    ? 'Below is an instruction that describes a task, paired with an input that provides further context. ' +
      'Write a response that appropriately completes the request. '
    : 'Below is an instruction that describes a task. Write a response that appropriately completes the request.  ';
  const section = (title: string, text: string): string => `\n${INDENT}### ${title}:\n${INDENT}${text}`;
  const sections = [section('Instruction', instruction), ...(input ? [section('Input', input)] : []), section('Response', '')];
  return `${start}\n${sections.join(`\n${INDENT}`)}`;
}
