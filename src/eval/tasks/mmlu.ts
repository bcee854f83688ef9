// MMLU (Hendrycks et al. 2021): 57 subjects in four groups, the answer's letter scored, the first rows of `dev` as examples.
// The mean is over all questions, so large subjects weigh more.

import type { Task, TaskGroup } from '../task.js';
import { ACC } from './common.js';

const subjects = {
  stem: `abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science college_mathematics
    college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics high_school_biology
    high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics high_school_statistics
    machine_learning`,
  other: `business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing medical_genetics
    miscellaneous nutrition professional_accounting professional_medicine virology`,
  social_sciences: `econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
    high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations security_studies
    sociology us_foreign_policy`,
  humanities: `formal_logic high_school_european_history high_school_us_history high_school_world_history international_law
    jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions`,
};

function subjectTask(subject: string): Task {
  return {
    task: `mmlu_${subject}`,
    task_alias: subject,
    dataset_path: 'cais/mmlu',
    dataset_name: subject,
    test_split: 'test',
    fewshot_split: 'dev',
    doc_to_text: '{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:',
    doc_to_target: 'answer',
    doc_to_choice: ['A', 'B', 'C', 'D'],
    description: `The following are multiple choice questions (with answers) about ${subject.replaceAll('_', ' ')}.\n\n`,
    fewshot_config: { sampler: 'first_n' },
    metric_list: [ACC],
    output_type: 'multiple_choice',
    metadata: { version: 1.0 },
  };
}

/** A mean over all documents of tasks that report acc. */
export function meanGroup(group: string, tasks: readonly (Task | TaskGroup)[], alias?: string): TaskGroup {
  return {
    group,
    group_alias: alias,
    task: tasks,
    aggregate_metric_list: [{ metric: 'acc', weight_by_size: true }],
    metadata: { version: 2 },
  };
}

export const mmlu: TaskGroup = meanGroup(
  'mmlu',
  Object.entries(subjects).map(([name, list]) =>
    meanGroup(`mmlu_${name}`, list.split(/\s+/).map(subjectTask), name.replaceAll('_', ' ')),
  ),
);
