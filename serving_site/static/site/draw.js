// A pad to draw on with mouse, pen or finger. Every finished stroke is written into the picture
// field beside it as a PNG, so that the form that is sent is the plain form.
import { forgetFile, takeFile } from "./drop.js";

const SIZE = 280;
const PEN = 20;

function paint(context, strokes) {
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, SIZE, SIZE);
  context.strokeStyle = "#101418";
  context.fillStyle = "#101418";
  context.lineWidth = PEN;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const stroke of strokes) {
    if (stroke.length === 1) {
      context.beginPath();
      context.arc(stroke[0][0], stroke[0][1], PEN / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke.slice(1)) context.lineTo(...point);
    context.stroke();
  }
}

function watch(pad) {
  const canvas = pad.querySelector("canvas");
  const context = canvas.getContext("2d");
  const zone = document.getElementById(pad.dataset.draw);
  const [undo, clear] = [pad.querySelector("[data-undo]"), pad.querySelector("[data-clear]")];
  let strokes = [];
  let stroke = null;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  };
  const refresh = () => {
    paint(context, strokes);
    undo.disabled = clear.disabled = strokes.length === 0;
  };
  const hand = () => {
    if (strokes.length === 0) {
      forgetFile(zone);
      return;
    }
    // Not toBlob, which answers later: a form sent right after the last stroke must carry it.
    const bytes = Uint8Array.from(atob(canvas.toDataURL("image/png").split(",")[1]), (letter) => letter.charCodeAt(0));
    takeFile(zone, new File([bytes], "drawing.png", { type: "image/png" }));
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    stroke = [place(event)];
    strokes.push(stroke);
    refresh();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) stroke.push(place(each));
    refresh();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, () => {
      if (!stroke) return;
      stroke = null;
      hand();
    });
  }
  undo.addEventListener("click", () => {
    strokes.pop();
    refresh();
    hand();
  });
  clear.addEventListener("click", () => {
    strokes = [];
    refresh();
    hand();
  });
  // Another picture was chosen, or this one taken away: an old drawing would only mislead.
  zone.addEventListener("change", (event) => {
    if (event.target.files?.[0]?.name === "drawing.png" || strokes.length === 0) return;
    strokes = [];
    refresh();
  });
  refresh();
}

export function watchPads() {
  document.querySelectorAll("[data-draw]").forEach(watch);
}
