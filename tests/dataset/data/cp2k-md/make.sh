#!/bin/sh
# Runs CP2K and leaves the raw files that the tests read; takes about a minute on one core.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export OMP_NUM_THREADS=1
run() { nice cp2k.psmp -i "$1" -o "${2:-run.log}"; }
# Logs are not needed; the head of a restart file names the machine.
keep() { rm -f ./*.log ./*.bak* ./*.wfn; sed -i "/^ # /d" ./*.restart; }

fresh() { rm -rf "${here:?}/$1"; mkdir "$here/$1"; cd "$here/$1"; cp "../$2" .; }

# Six steps in one go.
fresh nvt water.inp
run water.inp
keep

# Three steps, then three more from the restart file, into the same files.
fresh restart water-restart.inp
run water-restart.inp
cp water-1.restart ../step-3.restart
run ../step-3.restart
keep

# The same restart file once more: steps 4 to 6 stand twice in every file.
rm -rf "$here/restart-twice"
cp -r "$here/restart" "$here/restart-twice"
cd "$here/restart-twice"
run ../step-3.restart
keep
rm ../step-3.restart

# CP2K's own stress and forces of step 4 of the first run, at the printed geometry.
fresh single-point single-point.inp.in
step=4
awk -v s=$step '$1 == s { print "      A", $3, $4, $5; print "      B", $6, $7, $8
                          print "      C", $9, $10, $11 }' ../nvt/water-1.cell > cell
awk -v s=$step '$1 == "i" { on = ($3 + 0 == s); next } on && NF == 4' \
  ../nvt/water-pos-1.xyz > coord
sed -e '/@CELL@/{r cell' -e 'd}' -e '/@COORD@/{r coord' -e 'd}' \
  single-point.inp.in > cp2k.inp
run cp2k.inp cp2k.out
# Of its log, what says what ran, the energy and that it ended.
grep -E "version string|source code revision|ENERGY\||PROGRAM ENDED" cp2k.out > short
mv short cp2k.out
rm -f single-point.inp.in cell coord ./*.wfn ./*.bak*
