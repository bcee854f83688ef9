#!/usr/bin/env bash
# OpenELM-270M on 16 nodes of a Slurm cluster, a rank for each socket's cores: sbatch recipes/cluster/slurm.sh
#SBATCH --job-name=openelm-270m
#SBATCH --nodes=16
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=USR2@300
#SBATCH --requeue
# USR2, five minutes before the end, writes a checkpoint after the step under way; --resume goes on from it in the next job.
# --kill-on-bad-exit ends all ranks when one is gone; `out` must lie on a file system that all nodes share.
set -euo pipefail
export OPENELM_THREADS=$SLURM_CPUS_PER_TASK
srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores \
  npx openelm pretrain recipes/openelm-270m.yaml --out "${OUT:-/shared/runs/openelm-270m}" --resume "$@"
