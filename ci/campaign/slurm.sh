#!/bin/bash
# A campaign as an array of Slurm tasks, each of which plays a shard, and a job that
# joins them when all have ended well:
#   play=$(sbatch --parsable slurm.sh)
#   sbatch --dependency=afterok:"$play" --array=0 --cpus-per-task=1 slurm.sh join
# The array has to begin with 0; its size is the number of shards. What is played is
# said by the environment (sbatch --export=ALL,TRIALS=10000000).
#SBATCH --job-name=campaign
#SBATCH --array=0-63
#SBATCH --cpus-per-task=4
#SBATCH --mem=1G
#SBATCH --time=02:00:00
#SBATCH --requeue
set -euo pipefail

natlab=${NATLAB:-natlab}
population=${POPULATION:-mixed}
trials=${TRIALS:-1000000}
seed=${SEED:-1}
out=${OUT:-campaign}

if [ "${1:-play}" = join ]; then
	exec "$natlab" report merge "$out/parts" --out "$out/whole"
fi

shards=${SLURM_ARRAY_TASK_COUNT:?this is for sbatch, which makes an array of it}
if [ "${SLURM_ARRAY_TASK_MIN:?}" != 0 ] || [ "${SLURM_ARRAY_TASK_MAX:?}" != "$((shards - 1))" ]; then
	echo "the array has to be 0-N, as --array=0-63: shards count from 0" >&2
	exit 2
fi
# Names of equal length stand in order.
part=$(printf '%s/parts/%05d' "$out" "$SLURM_ARRAY_TASK_ID")
exec "$natlab" campaign "$population" --trials "$trials" --seed "$seed" \
	--parallel "${SLURM_CPUS_PER_TASK:-0}" --shard "$SLURM_ARRAY_TASK_ID/$shards" --out "$part"
