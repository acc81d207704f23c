"use strict";
// Two transcriptions above each other on one clock; notes without a counterpart in the other are red.
async function startCopies(section) {
  const data = await notesOf(section);
  if (!data) return;
  byId("alignment").textContent = data.num_matched
    ? `${data.num_pairs} notes have a counterpart, ${data.one.length - data.num_pairs} of the upper and ${data.other.length - data.num_pairs} of the lower have none (red); agreement ${data.agreement.toFixed(3)}, the lower begins ${(-data.offset_s).toFixed(2)} s later, its tempo is ${(1 / data.tempo).toFixed(4)} of the upper's.`
    : "The two share too little to be aligned: each is on its own clock.";
  const to = (clock) => data.tempo * clock + data.offset_s, from = (time) => (time - data.offset_s) / data.tempo;
  const start = Math.min(0, from(0)), end = Math.max(data.one_s, from(data.other_s)), drawings = [];
  const xOf = (clock, canvas) => (clock - start) / (end - start) * canvas.width;
  for (const [name, ofClock] of [["one", (time) => time], ["other", from]]) {
    const canvas = byId(`roll-${name}`), drawing = layer(canvas), paint = drawing.getContext("2d");
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, drawing.width, drawing.height);
    for (const [on, off, pitch, velocity, hasCounterpart] of data[name]) {
      paint.fillStyle = hasCounterpart || !data.num_matched ? ofVelocity(velocity) : "#ff5555";
      const left = xOf(ofClock(on), canvas);
      paint.fillRect(left, drawing.height * (108 - pitch) / 88, Math.max(1.5, xOf(ofClock(off), canvas) - left), hasCounterpart ? 3 : 5);
    }
    drawings.push([canvas, drawing]);
    canvas.dataset.drawn = "notes";
  }
  const sounds = { one: { element: byId("one"), to: (clock) => clock, from: (time) => time }, other: { element: byId("other"), to, from } };
  const player = makePlayer(sounds, end, (clock) => drawings.forEach(([canvas, drawing]) => cursor(canvas, drawing, xOf(clock, canvas))));
  for (const [canvas] of drawings) onClick(canvas, end - start, (seconds) => player.jump(seconds + start));
}
if (byId("copies")) startCopies(byId("copies"));
